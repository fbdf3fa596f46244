"""The members of a bundle as plain files, for install time.

The names are those that a bundle may hold, checked when it was opened; none comes from the archive
unchecked, and none leads out of the folder.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from edgepack.base.errors import RequestError
from edgepack.base.files import write_all
from edgepack.bundle import golden, rules
from edgepack.bundle.open import Bundle
from edgepack.spec.manifest import encode


def members(bundle: Bundle) -> Mapping[str, bytes]:
    """Return the content of a verified bundle by member name, manifest first."""
    return {
        rules.MANIFEST: encode(bundle.manifest),
        rules.GOLDEN: golden.encode(bundle.golden),
        rules.MODEL: bundle.model,
        **bundle.extras,
    }


def free(folder: Path, names: Iterable[str], *, replace: bool) -> None:
    """Refuse a folder in which one of the files is there already, unless it may be replaced.

    Raises:
        RequestError: A file is there, or ``folder`` is one.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError("E-PATH", f"{str(folder)!r} is a file, not a folder", hint="choose -o")
    there = [folder / name for name in (*names, "model.ort") if (folder / name).exists()]
    if there and not replace:
        raise RequestError(
            "E-EXISTS", f"the output {str(there[0])!r} exists", hint="add --force to replace it"
        )


def write(folder: Path, files: Mapping[str, bytes], *, replace: bool) -> dict[Path, bytes]:
    """Write files into ``folder``, all or none; a ``model.ort`` of an earlier time goes.

    Raises:
        RequestError: A file is there and must stay, or the folder is a file.
        MachineError: The disk is full or the folder cannot be written; nothing was changed.
    """
    paths = {folder / name: data for name, data in files.items()}
    write_all(paths, replace=replace)
    if "model.ort" not in files:
        (folder / "model.ort").unlink(missing_ok=True)
    return paths
