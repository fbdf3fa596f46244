"""Make a bundle: the same manifest and members give the same bytes."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgepack.base.errors import ModelError
from edgepack.base.files import sha256
from edgepack.bundle import archive, rules
from edgepack.bundle.open import parse
from edgepack.spec.manifest import Manifest, Member, encode


def pack(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a bundle, read back and checked.

    Args:
        manifest: All but ``files``, which is filled in here.
        members: Every member but ``manifest.json``; ``model.onnx`` and ``golden.npz`` must be
            there, the latter from ``golden.encode``.

    Raises:
        ModelError: A member is larger than a bundle may hold.
        SafetyError: The bundle would be refused when opened: its parts contradict each other.
    """
    if reason := rules.too_big({name: len(data) for name, data in members.items()}):
        raise ModelError("E-TOO-BIG", reason)
    ordered = {name: members[name] for name in sorted(members)}
    files = {name: Member(sha256(data), len(data)) for name, data in ordered.items()}
    head = encode(msgspec.structs.replace(manifest, files=files))
    try:
        data = archive.write({rules.MANIFEST: head, **ordered})
    except ValueError as error:
        raise ModelError("E-TOO-BIG", str(error)) from error
    parse(data, Path(f"{manifest.name}.edgepack"))
    return data
