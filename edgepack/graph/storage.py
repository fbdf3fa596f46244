"""How weights with many zeros lie in the file: dense, or as values and where they stand.

The choice is by bytes, tensor by tensor, and made on the finished file: onnx-ir drops
``sparse_initializer`` when it reads a model, and no quantizer takes one. Deflate already finds
zeros, and mostly better than 64-bit indices do: on a wire the sparse form wins only where little
is left, and by little. On disk it wins above 2/3 zeros of float32 and 8/9 of int8.

Source: ONNX IR, "SparseTensorProto": values, and int64 linear indices in rising order. 32-bit
indices open in ONNX Runtime, but ``onnx.checker`` refuses them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgepack.base import units
from edgepack.bundle.archive import packed_size

Storage = Literal["auto", "dense", "sparse_initializer"]

NO_EFFECT = "no latency effect: the runtime makes sparse weights dense when it loads"

_KINDS = frozenset(
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "UINT8")
)
"""Element types whose sparse form every runtime from 1.20 on opens."""

_LEAST = 64
"""Entries below which the sparse form, with its second tensor, cannot be the smaller one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A model file and what its weights take.

    Attributes:
        data: The ONNX file.
        sparse: Names of the weights that are kept as ``sparse_initializer``.
        zeros: Fraction of zeros in weights of two axes or more.
        file: Bytes of the file.
        wire: Bytes of the file, deflated as a bundle does it.
        memory: Bytes of all weights once loaded; the runtime makes them dense.
    """

    data: bytes
    sparse: tuple[str, ...]
    zeros: float
    file: int
    wire: int
    memory: int

    @property
    def sentence(self) -> str:
        """The four columns: file, wire, memory, latency."""
        return (
            f"weights with {units.percent(self.zeros)} zeros, {len(self.sparse)} stored sparse: "
            f"file {units.size(self.file)}, wire {units.size(self.wire)}, "
            f"memory {units.size(self.memory)}, {NO_EFFECT}"
        )


def store(model: bytes, storage: Storage) -> Stored:
    """Keep each weight of a finished model in its smaller form.

    Args:
        model: A self-contained ONNX file with dense weights only.
        storage: ``dense`` leaves the file as it is, ``auto`` compares deflated bytes of each
            weight and then of the whole file, ``sparse_initializer`` bytes as they are.

    Returns:
        The file, on the wire never larger than ``model`` with ``auto``.
    """
    proto = onnx.ModelProto.FromString(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    matrices = [array for array in weights.values() if array.ndim > 1]
    total = sum(array.size for array in matrices)
    zeros = total - sum(int(np.count_nonzero(array)) for array in matrices)
    data, sparse = model, tuple[str, ...]()
    if storage != "dense":
        sparse = _rewrite(proto.graph, storage)
        data = bytes(proto.SerializeToString(deterministic=True)) if sparse else model
    if storage == "auto" and sparse and packed_size(data) >= packed_size(model):
        data, sparse = model, ()
    memory = sum(array.nbytes for array in weights.values())
    return Stored(
        data, sparse, zeros / total if total else 0.0, len(data), packed_size(data), memory
    )


def _rewrite(graph: onnx.GraphProto, storage: Storage) -> tuple[str, ...]:
    """Move the weights whose sparse form is smaller; return their names, in order."""
    read = {output.name for output in graph.output} | {value.name for value in graph.input}
    moved: dict[str, onnx.SparseTensorProto] = {}
    for tensor in graph.initializer:
        form = None if tensor.name in read else _sparse(tensor)
        if form is not None and _size(form, storage) < _size(tensor, storage):
            moved[tensor.name] = form
    dense = [tensor for tensor in graph.initializer if tensor.name not in moved]
    del graph.initializer[:]
    graph.initializer.extend(dense)
    graph.sparse_initializer.extend(moved[name] for name in sorted(moved))
    return tuple(sorted(moved))


def _size(message: onnx.TensorProto | onnx.SparseTensorProto, storage: Storage) -> int:
    data = message.SerializeToString(deterministic=True)
    return packed_size(data) if storage == "auto" else len(data)


def _sparse(tensor: onnx.TensorProto) -> onnx.SparseTensorProto | None:
    """Return a weight as values and indices; None where it has no such form."""
    if tensor.data_type not in _KINDS or np.prod(tensor.dims) < _LEAST:
        return None
    flat = numpy_helper.to_array(tensor).ravel()
    where = np.flatnonzero(_bits(flat))
    if not 0 < where.size < flat.size:
        return None  # no runtime was seen to open a sparse tensor without a value
    values = numpy_helper.from_array(flat[where], tensor.name)
    indices = numpy_helper.from_array(where.astype(np.int64), f"{tensor.name}.indices")
    return onnx.SparseTensorProto(values=values, indices=indices, dims=tensor.dims)


def _bits(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the bit patterns: a negative zero is no zero, or outputs would change."""
    return array.view(f"u{array.dtype.itemsize}")
