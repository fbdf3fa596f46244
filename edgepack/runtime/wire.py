"""Wire files: tensors between Python and the C runner, in a form that C reads in place.

Little endian; every header and every block of data begins at a multiple of 64 bytes, and zeros
fill the space between::

    file    b"edgewire", u32 version = 1, u32 number of records; then the records
    record  u32 number of tensors; then the tensors
    tensor  u32 element type, u32 rank, u32 bytes of the name, u32 0,
            i64 dims[rank], the name in UTF-8, a zero byte; then the data in C order

Element types are those of ONNX, ``TensorProto.DataType``. The number of bytes of the data follows
from type and dims and is not stored, so it cannot disagree. The C side is ``native/wire.c``.
"""

import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import MachineError, SafetyError
from edgepack.spec.signature import Sample, Signature

_MAGIC = b"edgewire"
_VERSION = 1
_ALIGN = 64
_FILE = struct.Struct("<8sII")
_RECORD = struct.Struct("<I")
_TENSOR = struct.Struct("<IIII")
_TYPES: Mapping[int, npt.DTypeLike] = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4",
    7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
_CODES = {np.dtype(name): code for code, name in _TYPES.items()}


def refuses(signature: Signature) -> str:
    """Say which tensor of a model cannot be written to a wire file, or nothing."""
    for spec in (*signature.inputs, *signature.outputs):
        if np.dtype(spec.dtype) not in _CODES:
            kind = "strings" if spec.dtype == "str" else spec.dtype
            return f"{spec.name!r} holds {kind}, which it cannot be given"
    return ""


def encode(records: Sequence[Sample]) -> bytes:
    """Return a wire file that holds ``records``, tensors in the order of each mapping.

    Raises:
        MachineError: A tensor is not made of plain numbers, such as one of strings.
    """
    out = bytearray(_FILE.pack(_MAGIC, _VERSION, len(records)))
    for record in records:
        _align(out)
        out += _RECORD.pack(len(record))
        for name, value in record.items():
            _append(out, name, np.asarray(value))
    _align(out)
    return bytes(out)


def decode(data: bytes, where: str) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Return the records of a wire file; ``where`` names it in errors.

    Raises:
        SafetyError: The file is truncated, too long, or not a wire file at all.
    """
    reader = _Reader(data, where)
    magic, version, count = _FILE.unpack(reader.take(_FILE.size))
    if (magic, version) != (_MAGIC, _VERSION):
        raise reader.damaged(f"is not a wire file of version {_VERSION}")
    records = [reader.record() for _ in range(count)]
    reader.skip_padding()
    if reader.at != len(data):
        raise reader.damaged(f"has {len(data) - reader.at} bytes too many")
    return records


def _append(out: bytearray, name: str, value: npt.NDArray[np.generic]) -> None:
    code = _CODES.get(value.dtype.newbyteorder("<"))
    if code is None:
        raise MachineError(
            "E-DEVICE", f"{name!r} has dtype {value.dtype}, which this device cannot be given"
        )
    encoded = name.encode()
    _align(out)
    out += _TENSOR.pack(code, value.ndim, len(encoded), 0)
    out += struct.pack(f"<{value.ndim}q", *value.shape)
    out += encoded + b"\0"
    _align(out)
    out += value.astype(_TYPES[code], order="C", copy=False).tobytes()


def _align(out: bytearray) -> None:
    out += bytes(-len(out) % _ALIGN)


class _Reader:
    """A wire file and how far it was read."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = memoryview(data)
        self._where = where
        self.at = 0

    def damaged(self, what: str) -> SafetyError:
        return SafetyError("E-WIRE", f"{self._where} {what}")

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self.at:
            raise self.damaged(f"is truncated: {count} bytes expected at byte {self.at}")
        self.at += count
        return self._data[self.at - count : self.at]

    def skip_padding(self) -> None:
        self.take(-self.at % _ALIGN)

    def record(self) -> dict[str, npt.NDArray[np.generic]]:
        self.skip_padding()
        (count,) = _RECORD.unpack(self.take(_RECORD.size))
        return dict(self.tensor() for _ in range(count))

    def tensor(self) -> tuple[str, npt.NDArray[np.generic]]:
        self.skip_padding()
        code, rank, length, _ = _TENSOR.unpack(self.take(_TENSOR.size))
        shape = struct.unpack(f"<{rank}q", self.take(8 * rank))
        name = bytes(self.take(length + 1))
        if code not in _TYPES or min(shape, default=0) < 0 or name[-1]:
            raise self.damaged(f"holds no possible tensor before byte {self.at}")
        self.skip_padding()
        dtype = np.dtype(_TYPES[code])
        block = self.take(dtype.itemsize * math.prod(shape))
        try:
            value = np.frombuffer(block, dtype).reshape(shape).astype(dtype.newbyteorder("="))
            return name[:-1].decode(), value
        except ValueError as error:  # numpy has at most 64 axes; the name may not be UTF-8
            raise self.damaged(f"holds no possible tensor before byte {self.at}") from error
