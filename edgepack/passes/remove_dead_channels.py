"""Remove channels that are zero whatever the input: smaller tensors, and so less to compute.

A channel is dead where every weight and the bias that write it are zero. Between two layers with
one path of nodes that map 0 to 0 nothing reads anything else of it, so its weights go in both.
A channel that is constant but not zero stays: at the border of a padded convolution it is no
constant, so no bias can stand for it.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.chains import Link, channels_out, links, rows_first
from edgepack.graph.constants import Array, add_constant, attribute, constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step

Mask = npt.NDArray[np.bool_]


class RemoveDeadChannels(Step, frozen=True):
    """Drop zero channels between two layers; what they multiply is zero."""

    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Go in graph order: what a layer no longer reads may leave its own channels dead."""
        for link in links(model.graph):
            alive = _alive(link.first)
            if alive.all():
                continue
            if not alive.any():
                alive[0] = True  # no runtime is asked for a tensor without channels
                if alive.size == 1:
                    continue
            dead = int(np.count_nonzero(~alive))
            if why := _obstacle(link):
                yield Edit(str(link.first.name), f"{dead} dead channels stay: {why}", left=True)
                continue
            _narrow(model.graph, link, alive)
            yield Edit(
                str(link.first.name),
                f"{dead} of {alive.size} channels were zero: removed here and in "
                f"{link.second.name}",
            )


def _alive(node: ir.Node) -> Mask:
    """Tell which output channels of a layer may differ from zero."""
    weight = _array(node, 1)
    rows = weight if rows_first(node) else weight.T
    alive = np.asarray((rows.reshape(len(rows), -1) != 0).any(axis=1))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        alive |= _array(node, 2).reshape(-1) != 0
    return alive


def _obstacle(link: Link) -> str:
    """Say why no channel can be taken out between two layers, or nothing."""
    for node in (link.first, link.second):
        if node.op_type == "Conv" and attribute(node, "group", 1) != 1:
            return f"{node.name} works in groups"
    if not np.isfinite(_array(link.second, 1)).all():
        return f"{link.second.name} has weights that are not finite"
    for node in _between(link):
        if node.op_type == "Reshape":
            return f"{node.name} gives a shape that counts them"
        if node.op_type == "Clip" and not _keeps_zero(node):
            return f"{node.name} clips zero to something else"
    return ""


def _keeps_zero(clip: ir.Node) -> bool:
    lowest, highest = [*clip.inputs[1:3], None, None][:2]
    bounds = [constant(bound) for bound in (lowest, highest)]
    if any(b is None and v is not None for b, v in zip(bounds, (lowest, highest), strict=True)):
        return False
    low, high = bounds
    return (low is None or bool(low <= 0)) and (high is None or bool(high >= 0))


def _between(link: Link) -> Iterator[ir.Node]:
    """Walk from the first layer to the second; each tensor between has one reader."""
    node = link.first.outputs[0].consumers()[0]
    while node is not link.second:
        yield node
        node = node.outputs[0].consumers()[0]


def _narrow(graph: ir.Graph, link: Link, alive: Mask) -> None:
    """Keep the channels that are ``alive`` in both layers, and in the shapes between them."""
    first, second = link.first, link.second
    before = channels_out(first)
    path = [first, *_between(link)]
    _keep(graph, first, 1, alive, 0 if rows_first(first) else 1)
    if len(first.inputs) > 2 and first.inputs[2] is not None:
        _keep(graph, first, 2, alive, -1)
    _keep(graph, second, 1, np.repeat(alive, link.repeat), 1 if rows_first(second) else 0)
    kept = int(np.count_nonzero(alive))
    for node in path:
        shape = node.outputs[0].shape
        if shape is not None:
            axis = 1 if first.op_type == "Conv" else len(shape) - 1
            sizes = {before: kept, before * link.repeat: kept * link.repeat}
            dims = list(shape)
            size = dims[axis]
            dims[axis] = sizes.get(size, size) if isinstance(size, int) else size
            node.outputs[0].shape = ir.Shape(dims)


def _keep(graph: ir.Graph, node: ir.Node, index: int, alive: Mask, axis: int) -> None:
    array = np.ascontiguousarray(np.compress(alive, _array(node, index), axis=axis))
    part = "weight" if index == 1 else "bias"
    node.replace_input_with(index, add_constant(graph, f"{node.name}.alive_{part}", array))


def _array(node: ir.Node, index: int) -> Array:
    array = constant(node.inputs[index])
    assert array is not None, "links are between layers with constants"
    return array
