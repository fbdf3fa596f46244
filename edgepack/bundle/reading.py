"""Read a file that could be a bundle: whole, or only the slices that are asked for.

Slices let each member go from the disk to where it is used; the whole beside it would double the
memory that loading takes.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgepack.base.errors import RequestError, SafetyError
from edgepack.bundle import rules

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Slices:
    """A file whose slices are read when they are taken, as ``archive.Sliced`` says.

    A file that shrinks meanwhile gives fewer bytes; one that changes gives what it holds then.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def __len__(self) -> int:
        """Return the bytes that the file had when it was opened."""
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """Read some of them."""
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


@contextmanager
def opened(path: Path) -> Iterator[Slices]:
    """Open a file that could be a bundle.

    Raises:
        RequestError: There is no such file, or it is not a file that can be read.
        SafetyError: It is no zip file, or too large.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {reason}", hint="name a bundle"
        ) from error
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            kind = "a directory" if stat.S_ISDIR(state.st_mode) else "no regular file"
            raise RequestError("E-PATH", f"{str(path)!r} is {kind}", hint="name a bundle")
        if state.st_size > rules.TOTAL:
            raise SafetyError("E-CAP", f"{str(path)!r} has {state.st_size} bytes, too many")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = Slices(file, state.st_size)
            demand_zip(data[:2], repr(str(path)))  # before gigabytes are read
            yield data
    finally:
        os.close(handle)


def read(path: Path) -> bytes:
    """Return the bytes of a file that could be a bundle; raises as ``opened`` does."""
    with opened(path) as data:
        return data[:]


def demand_zip(head: bytes, where: str) -> None:
    """Refuse what does not begin as a zip file does.

    Raises:
        SafetyError: As it says.
    """
    if head != b"PK":
        raise SafetyError(
            "E-BUNDLE", f"{where} is not a bundle: it is no zip file", hint="name a bundle"
        )
