"""Pairs of layers with one path between them, on which every channel keeps to itself.

Where each node of the path is positively homogeneous per channel, ``f(a x) = a f(x)`` for
``a > 0``, a factor given to a channel in the first layer can be taken back in the second.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import attribute, constant, rank

LAYERS = frozenset({"Conv", "Gemm", "MatMul"})

_ANY_AXIS = frozenset({"Relu", "LeakyRelu", "Identity", "Dropout"})
_SPATIAL = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_FLAT = frozenset({"Flatten", "Reshape"})


@dataclass(frozen=True, slots=True)
class Link:
    """Two layers, the second reading the channels that the first writes.

    Attributes:
        first: Its output channels are the rows of ``rows(first)``.
        second: Its input channels are those of the first.
        repeat: Inputs of the second per channel: a flattened channel has one per position.
        broken: Why no factor goes through, or empty.
    """

    first: ir.Node
    second: ir.Node
    repeat: int = 1
    broken: str = ""


def links(graph: ir.Graph) -> Iterator[Link]:
    """Find all pairs, in graph order; those that a clamp breaks come with the reason."""
    for node in graph:
        if is_own_layer(node):
            yield from _from(node)


def is_own_layer(node: ir.Node) -> bool:
    """Whether ``node`` multiplies by a constant float32 weight, and adds a bias, that it owns."""
    if node.op_type not in LAYERS or not all(map(_owned, node.inputs[1:])):
        return False
    weight = constant(node.inputs[1])
    if weight is None or (node.op_type == "MatMul" and weight.ndim != 2):
        return False
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return False
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return bias is None or (bias.size == channels_out(node) and bias.shape[-1] == bias.size)


def channels_out(node: ir.Node) -> int:
    """Return the number of output channels of a layer."""
    weight = constant(node.inputs[1])
    assert weight is not None
    return int(weight.shape[0 if rows_first(node) else 1])


def channels_in(node: ir.Node) -> int:
    """Return the number of input channels of a layer."""
    weight = constant(node.inputs[1])
    assert weight is not None
    inner = int(weight.shape[1 if rows_first(node) else 0])
    return inner * attribute(node, "group", 1) if node.op_type == "Conv" else inner


def rows_first(node: ir.Node) -> bool:
    """Whether output channels are the first axis of the weight of a layer."""
    return node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0) == 1)


def _owned(value: ir.Value | None) -> bool:
    if value is None:
        return True
    array = constant(value)
    return array is not None and array.dtype == np.float32 and len(value.uses()) == 1


def _from(first: ir.Node) -> Iterator[Link]:
    """Follow the only reader of ``first`` to the next layer."""
    value, wide, repeat, broken = first.outputs[0], first.op_type == "Conv", 1, ""
    while (user := _only_reader(value)) is not None:
        if user.op_type in LAYERS:
            fits = is_own_layer(user) and wide == (user.op_type == "Conv")
            if fits and channels_in(user) == channels_out(first) * repeat:
                yield Link(first, user, repeat, broken)
            return
        if user.op_type == "Clip":
            broken = broken or _bound(user)
        elif user.op_type in _FLAT and wide:
            repeat, wide = _positions(user, channels_out(first)), False
            if not repeat:
                return
        elif user.op_type not in _ANY_AXIS and not (user.op_type in _SPATIAL and wide):
            return
        value = user.outputs[0]


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    user, index = next(iter(uses))
    return user if index == 0 else None


def _bound(clip: ir.Node) -> str:
    """Say at which value other than 0 a Clip ends: a scaled channel would meet it elsewhere."""
    for limit in clip.inputs[1:3]:
        value = constant(limit)
        if limit is None or (value is not None and (value == 0 or not np.isfinite(value))):
            continue
        at = "a computed bound" if value is None else f"{float(value):g}"
        return f"{clip.name} clips at {at}, which does not scale with a channel"
    return ""


def _positions(node: ir.Node, channels: int) -> int:
    """Return how many values of each channel are laid side by side, 0 where they are not."""
    source, out = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or rank(out) != 2:
        return 0
    inner, last = list(source.shape)[1:], out.shape[1] if out.shape else None
    if not all(isinstance(dim, int) for dim in inner) or not isinstance(last, int):
        return 0
    size = int(np.prod([int(dim) for dim in inner]))  # type: ignore[arg-type]  # as checked
    return size // channels if size == last and inner[0] == channels else 0
