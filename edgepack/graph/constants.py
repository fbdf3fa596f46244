"""Constant values of a graph: reading them, adding them."""

from typing import Any

import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]


def constant(value: ir.Value | None) -> Array | None:
    """Return the value of an initializer, or None where the tensor is computed or fed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Register ``array`` as a new initializer called ``name`` (made unique) and return it.

    A scale must keep rank 0: one of shape ``[1]`` silently leaves integer Add unfused.
    """
    unique, suffix = name, 0
    while unique in graph.initializers:
        suffix += 1
        unique = f"{name}.{suffix}"
    value = ir.Value(
        name=unique,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=unique),
    )
    graph.register_initializer(value)
    return value


def drop_unread(graph: ir.Graph) -> None:
    """Remove constants that nothing reads: a folded weight must not ship twice."""
    for value in list(graph.initializers.values()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            del graph.initializers[str(value.name)]


def attribute(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute of a node."""
    found = node.attributes.get(name)
    return default if found is None else int(found.as_int())


def rank(value: ir.Value | None) -> int | None:
    """Return the number of axes of a tensor, None where it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)
