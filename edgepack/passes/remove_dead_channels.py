"""Remove channels that are zero whatever the input: smaller tensors, and so less to compute.

A channel is dead where every layer that reads it reads zeros: what they multiply is zero. It leaves
all tensors of its group (``graph.channels``), through residual adds, depthwise convolutions and
pools. A channel that is constant but not zero stays: at the border of a padded convolution it is no
constant, so no bias can stand for it.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgepack.graph.chains import channels_in, rows_first
from edgepack.graph.channels import Group, groups, is_layer
from edgepack.graph.constants import Array, add_constant, constant
from edgepack.graph.zeros import Mask, Zeros
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step


class RemoveDeadChannels(Step, frozen=True):
    """Drop channels that are zero wherever they are read."""

    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Go on until nothing goes: what a layer no longer reads may leave its own rows zero."""
        kept: dict[str, Edit] = {}
        while removed := [edit for group in groups(model.graph) for edit in _shrink(model, group)]:
            yield from (edit for edit in removed if not edit.left)
            kept.update({edit.where: edit for edit in removed if edit.left})
            if all(edit.left for edit in removed):
                break
        yield from kept.values()


def _shrink(model: ir.Model, group: Group) -> Iterator[Edit]:
    """Take the dead channels out of one group."""
    zeros, first = Zeros(group), str(group.writers[0].name)
    if why := next(iter(group.obstacles), "") or _not_finite(group):
        if dead := int(np.count_nonzero(zeros.written())):
            yield Edit(first, f"{dead} dead channels stay: {why}", left=True)
        return
    alive = ~zeros.read()
    if not alive.any():
        alive[0] = True  # no runtime is asked for a tensor without channels
    if alive.all() or not group.readers:
        return
    dead = int(np.count_nonzero(~alive))
    _narrow(model.graph, group, alive)
    others = [str(node.name) for node in (*group.writers[1:], *group.within, *group.readers)]
    yield Edit(
        first, f"{dead} of {alive.size} channels were zero: removed here and in {_few(others)}"
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _not_finite(group: Group) -> str:
    """Say which reader would have made something else of a zero, or nothing."""
    for node in group.readers:
        if not np.isfinite(_array(node, 1)).all():
            return f"{node.name} has weights that are not finite"
    return ""


def _narrow(graph: ir.Graph, group: Group, alive: Mask) -> None:
    """Keep the channels that are ``alive`` in every layer, constant and shape of a group."""
    for node in group.writers:
        _keep(graph, node, 1, alive, 0 if rows_first(node) else 1)
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            _keep(graph, node, 2, alive, -1)
    for node in group.readers:
        repeat = channels_in(node) // group.width
        _keep(graph, node, 1, np.repeat(alive, repeat), 1 if rows_first(node) else 0)
    for node in group.within:
        _narrow_within(graph, node, group, alive)
    kept = int(np.count_nonzero(alive))
    for value, place in group.values.items():
        if value.shape is not None:
            dims = list(value.shape)
            dims[place.axis] = kept * place.repeat
            value.shape = ir.Shape(dims)


def _narrow_within(graph: ir.Graph, node: ir.Node, group: Group, alive: Mask) -> None:
    """Keep what a node between two layers holds for the channels that are alive."""
    held = is_layer(node) or node.op_type == "BatchNormalization"
    if is_layer(node):
        node.attributes["group"] = ir.AttrInt64("group", int(np.count_nonzero(alive)))
    out = node.outputs[0]
    place = group.values[out]
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None:
            continue
        axis, mask = 0, alive
        if not held:
            assert out.shape is not None, "followed by its shape"
            axis, mask = place.axis - (len(out.shape) - array.ndim), np.repeat(alive, place.repeat)
        if 0 <= axis < array.ndim and array.shape[axis] == mask.size:
            _keep(graph, node, index, mask, axis)


def _keep(graph: ir.Graph, node: ir.Node, index: int, alive: Mask, axis: int) -> None:
    array = np.ascontiguousarray(np.compress(alive, _array(node, index), axis=axis))
    part = {1: "weight", 2: "bias"}.get(index, f"input_{index}")
    node.replace_input_with(index, add_constant(graph, f"{node.name}.alive_{part}", array))


def _array(node: ir.Node, index: int) -> Array:
    array = constant(node.inputs[index])
    assert array is not None, "groups are of layers with constants"
    return array
