"""Weights in files beside the model: read only from inside its folder, then held in memory.

A model chooses the paths and the sizes, so both are checked here and not left to the parser:
CVE-2022-25882, CVE-2024-27318 (``..``), CVE-2026-27489 (symlink), CVE-2026-34446 (hard link).
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgepack.base.errors import ModelError, SafetyError
from edgepack.base.units import size
from edgepack.graph.limits import FILE_BYTES
from edgepack.graph.wellformed import check_tensor, tensors

_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class _Slice:
    """Where the bytes of one tensor lie."""

    tensor: onnx.TensorProto
    location: str
    offset: int
    nbytes: int


def load_external(model: onnx.ModelProto, folder: Path | None) -> dict[str, str]:
    """Copy external data into the model, so that it stands alone.

    Args:
        model: Edited in place; its tensors were not touched before.
        folder: The folder of the model file; None where no files are allowed.

    Returns:
        Location -> SHA-256 of each file that was read.

    Raises:
        SafetyError: A location leaves the folder, or is a link, or all data exceed ``FILE_BYTES``.
        ModelError: A file is missing or too short, or a range is negative or overlaps another.
    """
    wanted = [
        _slice(tensor, check_tensor(tensor))
        for tensor in tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if wanted and folder is None:
        raise SafetyError(
            "E-SEC-PATH", f"bytes in memory may not name files: {wanted[0].location!r}"
        )
    if (total := sum(item.nbytes for item in wanted)) > FILE_BYTES:
        raise SafetyError(
            "E-CAP", f"external data of {size(total)}, the limit is {size(FILE_BYTES)}"
        )
    digests: dict[str, str] = {}
    for location in sorted({item.location for item in wanted}):
        assert folder is not None
        data = _read(folder, location)
        digests[location] = hashlib.sha256(data).hexdigest()
        _fill([item for item in wanted if item.location == location], data)
    return digests


def _slice(tensor: onnx.TensorProto, nbytes: int) -> _Slice:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    _check_location(location, tensor.name)
    offset = _number(entries.get("offset", "0"), tensor.name)
    length = _number(entries.get("length", str(nbytes)), tensor.name)
    if length != nbytes or tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(
            "E-MODEL-CORRUPT", f"tensor {tensor.name!r} needs {nbytes} bytes and names {length}"
        )
    return _Slice(tensor, location, offset, nbytes)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(
            "E-DATA-TRUNC", f"tensor {name!r} lies at the impossible place {text[:20]!r}"
        )
    return int(text)


def _check_location(location: str, name: str) -> None:
    parts = location.split("/")
    if (
        not location
        or location.startswith("/")
        or ".." in parts
        or "\\" in location
        or "\0" in location
        or _DRIVE.match(location)
    ):
        raise SafetyError(
            "E-SEC-PATH",
            f"refused: tensor {name!r} points outside the model's folder: {location!r}",
        )


def _read(folder: Path, location: str) -> bytes:
    """Read a plain file of the folder without following any link."""
    path = Path(folder, location)
    inside = Path(os.path.realpath(folder), os.path.normpath(location))
    if os.path.realpath(path) != str(inside):
        raise SafetyError("E-SEC-PATH", f"refused: external data {location!r} is a symbolic link")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(inside, flags)
    except FileNotFoundError as error:
        raise ModelError(
            "E-DATA-MISSING",
            f"the model keeps weights in {str(path)!r}, which is missing",
            hint="copy the data file beside the model",
        ) from error
    except OSError as error:
        raise ModelError(
            "E-DATA-MISSING", f"cannot read {str(path)!r}: {error.strerror}"
        ) from error
    try:
        _check_plain(os.fstat(handle), location)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(os.fstat(handle).st_size)
    finally:
        os.close(handle)


def _check_plain(facts: os.stat_result, location: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise SafetyError(
            "E-SEC-PATH",
            f"refused: external data {location!r} is not a plain file",
            hint="the model is damaged or hostile; get it again",
        )
    if facts.st_nlink > 1:
        raise SafetyError(
            "E-SEC-PATH",
            f"refused: external data {location!r} is a file with several names",
            hint="hard links are refused; copy the file",
        )
    if facts.st_size > FILE_BYTES:
        raise SafetyError("E-CAP", f"external data {location!r} has {size(facts.st_size)}")


def _fill(items: list[_Slice], data: bytes) -> None:
    end, start = 0, -1
    for item in sorted(items, key=lambda item: (item.offset, item.nbytes)):
        if item.offset + item.nbytes > len(data):
            raise ModelError(
                "E-DATA-TRUNC",
                f"external data {item.location!r} has {len(data)} bytes, tensor "
                f"{item.tensor.name!r} ends at {item.offset + item.nbytes}",
                hint="the copy is incomplete; copy it again",
            )
        if item.offset < end and (start, end) != (item.offset, item.offset + item.nbytes):
            raise ModelError("E-DATA-TRUNC", f"tensor {item.tensor.name!r} overlaps another one")
        start, end = item.offset, item.offset + item.nbytes
        item.tensor.raw_data = data[start:end]
        item.tensor.ClearField("external_data")
        item.tensor.ClearField("data_location")
