"""Detached Ed25519 signatures of whole files: 64 raw bytes, which ``openssl`` alone can check.

``openssl pkeyutl -verify -pubin -inkey p.pem -rawin -in BUNDLE -sigfile BUNDLE.sig``

Keys are PEM files: PKCS#8 for the private one, SubjectPublicKeyInfo for the public one, as
``openssl genpkey -algorithm ed25519`` and ``openssl pkey -pubout`` write them. PyCA cryptography
is imported where a key is used and nowhere else: loading without a key does not need it.

Source: RFC 8032, section 5.1 (Ed25519); RFC 8410 for the keys.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.base.errors import MachineError, RequestError, SafetyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

Key = Path | str | bytes
"""A PEM file, or its content as bytes."""

LENGTH = 64
"""Bytes of a signature."""

_LARGEST = 1 << 16
"""Bytes of a PEM file; one of Ed25519 has about 120."""

_MAKE = "openssl genpkey -algorithm ed25519 -out k.pem"
_PUBLISH = "openssl pkey -in k.pem -pubout -out p.pem"


def beside(path: Path) -> Path:
    """Return where the signature of a file lies: ``NAME.edgepack.sig``."""
    return path.with_name(f"{path.name}.sig")


def private_key(key: Key) -> "Ed25519PrivateKey":
    """Read the key that signs.

    Raises:
        RequestError: It is missing, encrypted, public, of another kind, or no key.
        MachineError: The ``sign`` extra is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    name, pem = _read(key)
    if b"PUBLIC KEY-----" in pem:
        raise _unfit(f"{name} is a public key, signing takes the private one", _MAKE)
    try:
        found = load_pem_private_key(pem, password=None)
    except TypeError as error:
        # A key without its passphrase; asking for one would stop a build that nobody watches.
        decrypt = "decrypt it for the moment: openssl pkey -in KEY -out k.pem"
        raise _unfit(f"{name} is encrypted", decrypt) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unfit(f"{name} holds no private key in PEM form", _MAKE) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise _unfit(f"{name} is a key of another kind than Ed25519", _MAKE)
    return found


def public_key(key: Key) -> "Ed25519PublicKey":
    """Read the key that signatures are checked with.

    Raises:
        RequestError: It is missing, private, of another kind, or no key.
        MachineError: The ``sign`` extra is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    name, pem = _read(key)
    if b"PRIVATE KEY-----" in pem:
        raise _unfit(f"{name} is a private key, which does not belong on a device", _PUBLISH)
    try:
        found = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unfit(f"{name} holds no public key in PEM form", _PUBLISH) from error
    if not isinstance(found, Ed25519PublicKey):
        raise _unfit(f"{name} is a key of another kind than Ed25519", _MAKE)
    return found


def check(data: bytes, path: Path, key: Key) -> None:
    """Do nothing where ``data``, read from ``path``, is what the owner of ``key`` signed.

    Raises:
        RequestError: The key does not serve; see ``public_key``.
        MachineError: The ``sign`` extra is not installed.
        SafetyError: There is no signature beside ``path``, or it is of other bytes or keys.
    """
    known = public_key(key)
    from cryptography.exceptions import InvalidSignature

    try:
        known.verify(_signature(path), data)
    except InvalidSignature as error:
        raise SafetyError(
            "E-SIGNATURE",
            f"{str(path)!r} was changed after it was signed, or signed with another key",
            hint="get bundle and signature again from whom the key belongs to",
        ) from error


def _signature(path: Path) -> bytes:
    """Read the signature beside a bundle."""
    file = beside(path)
    try:
        if not file.is_file():
            raise SafetyError(
                "E-SIGNATURE",
                f"{str(path)!r} is not signed: there is no {file.name!r} beside it",
                hint="get its signature too, or edgepack sign BUNDLE --key k.pem",
            )
        with file.open("rb") as opened:
            found = opened.read(LENGTH + 1)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise RequestError("E-PATH", f"cannot read {str(file)!r}: {reason}") from error
    if len(found) != LENGTH:
        raise SafetyError("E-SIGNATURE", f"{str(file)!r} is no signature, which has {LENGTH} bytes")
    return found


def _read(key: Key) -> tuple[str, bytes]:
    """Return what errors call a key, and its PEM text."""
    if isinstance(key, bytes):
        return "the key", key
    path = Path(key)
    try:
        if not path.is_file():
            raise _unfit(f"there is no key {str(path)!r}", _MAKE)
        with path.open("rb") as file:
            return repr(str(path)), file.read(_LARGEST)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise _unfit(f"cannot read the key {str(path)!r}: {reason}", "check the path") from error


def _unfit(reason: str, hint: str) -> RequestError:
    return RequestError("E-KEY", reason, hint=hint)


def _require() -> None:
    try:
        import cryptography  # noqa: F401 - whether it is there is all that is asked
    except ImportError as error:
        raise MachineError(
            "E-EXTRA", "signatures need cryptography", hint="pip install 'edgepack[sign]'"
        ) from error
