"""Trained weights into a module: safetensors, or a state_dict that is loaded without its code."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only its name; nothing is unpickled here
from typing import Literal

import msgspec
import torch

from edgepack.base.errors import ModelError
from edgepack.export.faults import reason
from edgepack.export.program import contents, pickled, truncated
from edgepack.graph.limits import check_size

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of a safetensors header; offsets count from the end of the header."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Put the weights of a file into ``module``; every name and shape must fit.

    Args:
        module: Changed in place.
        path: ``.safetensors``, or what ``torch.save(module.state_dict(), path)`` wrote.

    Raises:
        RequestError: There is no such file.
        SafetyError: It holds a pickled object other than tensors.
        ModelError: It is cut short, or its names or shapes are not those of the module.
    """
    data = contents(path)
    state = _safetensors(data, path) if path.suffix == ".safetensors" else _checkpoint(data, path)
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    odd = [
        name for name in sorted(own.keys() & state.keys()) if own[name].shape != state[name].shape
    ]
    if missing or extra or odd:
        parts = [
            *([f"lacks {_listed(missing)}"] if missing else []),
            *([f"has no place for {_listed(extra)}"] if extra else []),
            *[f"{n!r} is {list(state[n].shape)}, not {list(own[n].shape)}" for n in odd[:3]],
        ]
        raise ModelError(
            "E-WEIGHTS",
            f"the weights in {str(path)!r} do not fit the module: {'; '.join(parts)}",
            hint="save module.state_dict() of this very class; without a DataParallel wrapper",
        )
    module.load_state_dict(dict(state), strict=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def _checkpoint(data: bytes, path: Path) -> Mapping[str, torch.Tensor]:
    """Read a state_dict, or one under the key ``state_dict`` of a training checkpoint."""
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise pickled(path, "a pickled object, not a state_dict") from error
    except (RuntimeError, EOFError, ValueError) as error:
        if data[:2] in (b"PK", b"\x80\x02"):
            raise truncated(path) from error
        raise ModelError("E-WEIGHTS", f"cannot read {str(path)!r}: {reason(error)}") from error
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not (isinstance(held, Mapping) and all(isinstance(t, torch.Tensor) for t in held.values())):
        raise ModelError(
            "E-WEIGHTS",
            f"{str(path)!r} holds {type(held).__name__}, not a state_dict",
            hint="save it with torch.save(module.state_dict(), path)",
        )
    return held


def _safetensors(data: bytes, path: Path) -> Mapping[str, torch.Tensor]:
    """Read the format: a length of 8 bytes, a JSON header of that length, then the tensors.

    Source: https://github.com/huggingface/safetensors#format
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise truncated(path)
    try:
        header: dict[str, object] = json.loads(data[8:start])
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _Entry])
    except (ValueError, AttributeError, RecursionError, msgspec.ValidationError) as error:
        raise ModelError("E-WEIGHTS", f"{str(path)!r} is no safetensors file: {error}") from error
    if any(entry.data_offsets[1] > len(data) - start for entry in entries.values()):
        raise truncated(path)
    body = memoryview(data)[start:]
    return {name: _tensor(name, entry, body) for name, entry in entries.items()}


def _tensor(name: str, entry: _Entry, body: memoryview) -> torch.Tensor:
    dtype, (low, high) = _DTYPES[entry.dtype], entry.data_offsets
    count = check_size(name, entry.shape, dtype.itemsize * 8)
    if low < 0 or high - low != count * dtype.itemsize:
        raise ModelError("E-WEIGHTS", f"tensor {name!r} of {count} values has {high - low} bytes")
    if count == 0:
        return torch.empty(entry.shape, dtype=dtype)
    return torch.frombuffer(bytearray(body[low:high]), dtype=dtype).reshape(entry.shape)
