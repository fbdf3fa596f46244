"""Files that appear whole or not at all, and digests of what they hold."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from edgepack.base.errors import MachineError, RequestError


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Written to a temporary file beside the target, flushed to the disk, then renamed.

    Raises:
        RequestError: ``path`` is a folder, or its folder is a file.
        MachineError: The disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    draft = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(
            prefix=f".{path.name[:32]}.", suffix=".tmp", dir=path.parent
        )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, path)
        draft = ""
        _sync_folder(path.parent)
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise RequestError(
            "E-PATH",
            f"{str(path)!r} cannot be a file: {_reason(error)}",
            hint="a folder has that name, or a file has the name of its folder",
        ) from error
    except OSError as error:
        raise MachineError(
            "E-DISK",
            f"cannot write {str(path)!r}: {_reason(error)}",
            hint="free space or choose -o",
        ) from error
    finally:
        if draft:
            Path(draft).unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where platform and file system let a folder be flushed."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
