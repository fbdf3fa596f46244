"""What a graph is made of, and its interface."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgepack.spec.signature import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of a graph.

    Attributes:
        ops: Operator -> number of nodes, subgraphs included.
        weights: Bytes of initializers.
    """

    ops: Mapping[str, int]
    weights: int


def census(model: ir.Model) -> Census:
    """Count nodes per operator and bytes of weights."""
    ops = Counter(node.op_type for node in model.graph.all_nodes())
    tensors = (value.const_value for value in model.graph.initializers.values())
    return Census(dict(sorted(ops.items())), sum(t.nbytes for t in tensors if t is not None))


def signature(model: ir.Model, state: Mapping[str, str] | None = None) -> Signature:
    """Return the interface of ``model``; ``state`` maps outputs to the inputs they feed."""
    return Signature(
        tuple(map(_spec, model.graph.inputs)),
        tuple(map(_spec, model.graph.outputs)),
        dict(state or {}),
    )


def _spec(value: ir.Value) -> TensorSpec:
    dims = () if value.shape is None else tuple(value.shape)
    return TensorSpec(value.name or "", _dtype(value), tuple(map(_dimension, dims)))


def _dtype(value: ir.Value) -> str:
    if value.dtype is None:
        return "unknown"
    return "str" if value.dtype == ir.DataType.STRING else str(value.dtype.numpy())


def _dimension(dim: int | ir.SymbolicDim) -> int | str | None:
    return dim if isinstance(dim, int) else dim.value
