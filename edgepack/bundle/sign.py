"""Sign a bundle: read it, verify it, and lay the signature beside it."""

from pathlib import Path

from edgepack.base.errors import RequestError
from edgepack.base.files import write_all
from edgepack.bundle import signature
from edgepack.bundle.open import parse
from edgepack.bundle.reading import read


def sign(path: Path | str, key: signature.Key, *, replace: bool = False) -> Path:
    """Write the detached Ed25519 signature of a bundle and return where it lies.

    The bytes that are verified are the bytes that are signed: nobody signs what ``load`` would
    refuse. The same bundle and key give the same signature.

    Args:
        path: The ``.edgepack`` file; it is left as it is.
        key: The private key.
        replace: Whether a signature that is there may be replaced.

    Raises:
        RequestError: Bundle or key cannot be read, or there is another signature already.
        SafetyError: The bundle is damaged, or hostile.
        MachineError: The ``sign`` extra is not installed, or the disk is full.
    """
    path = Path(path)
    target = signature.beside(path)
    if target.exists() and not replace:
        raise RequestError(
            "E-EXISTS", f"the output {str(target)!r} exists", hint="add --force to replace it"
        )
    owner = signature.private_key(key)
    data = read(path)
    parse(data, path)
    write_all({target: owner.sign(data)}, replace=replace)
    return target
