"""Arrays in ``.npy`` and ``.npz`` files, row by row.

Nothing is unpickled, and what a header promises is compared with what the file holds before any
memory is taken. A compressed ``.npz`` of any length is read in the memory of one row.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from edgepack.base.errors import DataError, RequestError
from edgepack.base.files import beside
from edgepack.base.units import size as as_text

MAX_ROW = 1 << 30
"""Bytes read at once: one sample of one input. No edge model takes more."""

_HEADERS: Mapping[tuple[int, int], Any] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,  # zipfile's word for an encrypted member
    SyntaxError,  # numpy reads headers with Python's own parser
    tokenize.TokenError,
)


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn what damaged or hostile content raises into a ``DataError`` that names the file."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(
            "E-DATA", f"{where}: {error}", hint="the file is damaged or not what its name says"
        ) from error


class Rows:
    """An array in a stream, read one row of its first axis at a time, once.

    Attributes:
        shape: As the header promises; the stream was seen to hold as many bytes.
        dtype: As the header promises; never an object type.
    """

    def __init__(self, stream: IO[bytes], held: int, where: str) -> None:
        """Read the header.

        Args:
            stream: At the start of a ``.npy`` file.
            held: Bytes of that file.
            where: The file, for errors.

        Raises:
            DataError: The header is damaged, lies about the size, or asks for unpickling.
        """
        self._stream, self._where = stream, where
        with readable(where):
            version = npy.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"unknown version {version} of the .npy format")
            shape, self._fortran, dtype = _HEADERS[version](stream)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which are never unpickled")
            if any(length < 0 for length in shape):
                raise ValueError(f"negative length in shape {shape}")
            promised = math.prod(shape) * dtype.itemsize
            if promised != held - stream.tell():
                raise ValueError(f"{promised} bytes promised, {held - stream.tell()} found")
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype

    def __iter__(self) -> Iterator[npt.NDArray[np.generic]]:
        if self._fortran:  # its rows are scattered over the file
            yield from self.whole()
            return
        for _ in range(self.shape[0]):
            yield self._read(self.shape[1:])

    def whole(self) -> npt.NDArray[np.generic]:
        """Read the array in one piece."""
        return self._read(self.shape)

    def _read(self, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
        count = math.prod(shape) * self.dtype.itemsize
        with readable(self._where):
            if count > MAX_ROW:
                raise ValueError(f"{as_text(count)} at once, the limit is {as_text(MAX_ROW)}")
            data = self._stream.read(count)
            flat: npt.NDArray[Any] = np.frombuffer(data, self.dtype, math.prod(shape))
            return flat.reshape(shape[::-1]).T if self._fortran else flat.reshape(shape)


@contextmanager
def members(path: Path) -> Iterator[dict[str, Rows]]:
    """Open the arrays of a ``.npz`` file by name; the one of a ``.npy`` file is ``arr_0``.

    Raises:
        RequestError: The file cannot be opened.
        DataError: Its content is damaged, hostile, or not arrays.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise RequestError(
                "E-PATH",
                f"cannot read {str(path)!r}: {(error.strerror or str(error)).lower()}",
                hint=beside(path),
            ) from error
        if path.suffix == ".npy":
            yield {"arr_0": Rows(file, path.stat().st_size, repr(str(path)))}
        else:
            yield _archive(file, stack, path)


def _archive(file: IO[bytes], stack: ExitStack, path: Path) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    with readable(repr(str(path))):
        archive = stack.enter_context(zipfile.ZipFile(file))
        for info in archive.infolist():
            name, _, suffix = info.filename.rpartition(".")
            if suffix != "npy" or name in found:
                raise ValueError(f"member {info.filename!r} is not an array, or there twice")
            stream = stack.enter_context(archive.open(info))
            found[name] = Rows(stream, info.file_size, f"{str(path)!r} ({name})")
    return found


def as_array(value: object) -> npt.NDArray[Any]:
    """Take arrays, scalars, and tensors of any framework that offers ``numpy()``.

    Raises:
        DataError: The value is no array, such as rows of different lengths.
    """
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            "E-DATA-TYPE", f"no array can be made of {type(value).__name__}: {error}"
        ) from error
