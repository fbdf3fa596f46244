"""Files that appear whole or not at all, and digests of what they hold."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from edgepack.base.errors import MachineError, RequestError


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def beside(path: Path) -> str:
    """Return a hint for a path that leads nowhere: the closest name in its folder, if any is."""
    try:
        known = [item.name for item in path.parent.iterdir() if item.name != path.name]
    except (OSError, ValueError):
        return "check the path"
    close = get_close_matches(path.name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "check the path"


def check_writable(path: Path) -> None:
    """Refuse a path that no file can be written to, before the work that would be lost.

    Raises:
        RequestError: It is a folder, or cannot be a path.
        MachineError: Its folder, or the nearest above that exists, cannot be written.
    """
    hint = "choose another path"
    try:
        if path.is_dir():
            raise RequestError("E-PATH", f"the output {str(path)!r} is a directory", hint=hint)
        home = next(folder for folder in path.absolute().parents if folder.exists())
        if not home.is_dir():
            raise RequestError("E-PATH", f"{str(home)!r} is a file, not a folder", hint=hint)
    except OSError as error:
        said = f"cannot write {str(path)!r}: {_reason(error)}"
        raise RequestError("E-PATH", said, hint=hint) from error
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        said = f"cannot write {str(path)!r}: {_reason(error)}"
        raise MachineError("E-DISK", said, hint=hint) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Raises:
        RequestError: ``path`` is a folder, or its folder is a file.
        MachineError: The disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    write_all({path: data})


def write_all(files: Mapping[Path, bytes], *, replace: bool = True) -> None:
    """Write files that belong together: all are on the disk before the first takes its name.

    Each is written to a temporary file beside its target, flushed, then renamed.

    Args:
        files: Path -> content; renamed in this order.
        replace: Whether files that are there may be replaced; else one that appeared meanwhile
            stays.

    Raises:
        RequestError: A path is a folder, its folder is a file, or it exists and must stay.
        MachineError: The disk is full or a folder cannot be written; nothing was changed.
    """
    drafts: dict[Path, Path] = {}
    made: list[Path] = []
    path = Path()
    try:
        for path, data in files.items():
            made += _make_folder(path.parent)
            drafts[path] = _draft(path, data)
        for path in files:
            _take_name(drafts[path], path, replace=replace)
            del drafts[path]
        made.clear()
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise RequestError(
            "E-PATH",
            f"cannot write {str(path)!r}: {_reason(error)}",
            hint="something of that name, or of the name of its folder, is there already",
        ) from error
    except OSError as error:
        raise MachineError(
            "E-DISK",
            f"cannot write {str(path)!r}: {_reason(error)}",
            hint="free space or choose -o",
        ) from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder with its parents and return those that were not there, outermost first."""
    missing = [item for item in (folder, *folder.parents) if not item.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _draft(path: Path, data: bytes) -> Path:
    """Write a temporary file beside ``path``, flushed, with the mode that a new file has."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _take_name(draft: Path, path: Path, *, replace: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if replace:
        os.replace(draft, path)
    else:
        os.link(draft, path)  # unlike a rename, it never replaces
        draft.unlink()
    _sync_folder(path.parent)


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
