"""Groups of tensors whose channels come and go together, and the layers at their ends.

A channel that is taken out of a tensor must leave every tensor that is added to it, multiplied with
it or computed from it channel by channel. Such tensors form a group; it begins at layers that write
channels and ends at layers that read them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgepack.graph.chains import LAYERS, channels_in, channels_out
from edgepack.graph.constants import attribute, constant, rank

_NAMES = """
Abs Cast Ceil Celu Clip Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log
Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Softplus Softsign Sqrt Tanh ThresholdedRelu
"""
UNARY = frozenset(_NAMES.split())
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"})
POOLS = frozenset(
    {"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool"}
)
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"})
FLAT = frozenset({"Flatten", "Reshape"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where the channels of a tensor lie: their axis, and how many values lie side by side."""

    axis: int
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that share their channels.

    Attributes:
        width: Number of channels.
        writers: Layers whose rows are channels.
        readers: Layers whose columns are channels.
        within: Nodes that hold something per channel: depthwise convolutions, batch norms,
            elementwise nodes with a constant.
        values: Every tensor, and where its channels lie.
        obstacles: Why no channel can be taken out; none where one can.
    """

    width: int
    writers: list[ir.Node] = field(default_factory=list)
    readers: list[ir.Node] = field(default_factory=list)
    within: list[ir.Node] = field(default_factory=list)
    values: dict[ir.Value, Place] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)


def groups(graph: ir.Graph) -> Iterator[Group]:
    """Yield the groups of a graph, in the order of their first writer."""
    seen: set[ir.Node] = set()
    for node in graph:
        if is_layer(node) and not depthwise(node) and node not in seen:
            search = _Search(Group(channels_out(node)))
            search.from_writer(node)
            seen.update(search.group.writers)
            yield search.group


def is_layer(node: ir.Node) -> bool:
    """Whether ``node`` multiplies by a constant matrix or kernel, and adds a constant bias."""
    weight = constant(node.inputs[1]) if node.op_type in LAYERS and node.domain == "" else None
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
        return False
    if node.op_type == "MatMul" and weight.ndim != 2:
        return False
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    bias = constant(node.inputs[2])
    return bias is not None and bias.size == bias.shape[-1] == channels_out(node)


def depthwise(node: ir.Node) -> bool:
    """Whether a layer gives each channel a filter of its own."""
    if node.op_type != "Conv" or (groups_ := attribute(node, "group", 1)) == 1:
        return False
    return groups_ == channels_in(node) == channels_out(node)


class _Search:
    """Goes from tensor to tensor until the group is closed."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._entered: set[ir.Node] = set()
        self._open: list[tuple[ir.Value, Place]] = []

    def from_writer(self, node: ir.Node) -> None:
        """Collect the whole group of one writer."""
        self._open.append((node.outputs[0], _written(node)))
        while self._open:
            value, place = self._open.pop()
            if value not in self.group.values:
                self.group.values[value] = place
                self._visit(value, place)
            elif self.group.values[value] != place:
                self._stop(f"{value.name} has its channels in two places")

    def _visit(self, value: ir.Value, place: Place) -> None:
        producer = value.producer()
        if producer is None:
            self._stop(f"{value.name} is an input of the model")
        elif producer not in self._entered:
            self._enter(producer, value, place)
        if value.is_graph_output():
            self._stop(f"{value.name} is an output of the model")
        for user, index in value.uses():
            if is_layer(user) and index == 0 and not depthwise(user):
                self._read(user, place)
            elif user not in self._entered:
                self._enter(user, value, place)

    def _stop(self, why: str) -> None:
        self.group.obstacles.append(why)

    def _read(self, layer: ir.Node, place: Place) -> None:
        """Add a layer that reads the channels."""
        if layer.op_type == "Conv" and attribute(layer, "group", 1) != 1:
            self._stop(f"{layer.name} works in groups")
        elif channels_in(layer) != self.group.width * place.repeat or place.axis != _read_at(layer):
            self._stop(f"{layer.name} does not read them one by one")
        elif layer not in self.group.readers:
            self.group.readers.append(layer)

    def _write(self, layer: ir.Node, place: Place) -> None:
        """Add a layer that writes the channels."""
        self.group.writers.append(layer)
        if layer.op_type == "Conv" and attribute(layer, "group", 1) != 1:
            self._stop(f"{layer.name} works in groups")
        elif channels_out(layer) != self.group.width or place != _written(layer):
            self._stop(f"{layer.name} does not write them one by one")

    def _enter(self, node: ir.Node, via: ir.Value, place: Place) -> None:
        """Go through ``node``, or find that it is an end."""
        self._entered.add(node)
        if is_layer(node):
            (self._hold if depthwise(node) else self._write)(node, place)
        elif node.domain == "" and (follow := self._ways().get(node.op_type)) is not None:
            follow(node, place)
        elif node.op_type in FLAT and via is node.inputs[0]:
            self._flatten(node, place)
        else:
            self._stop(f"{node.name} ({node.op_type}) is not followed")

    def _ways(self) -> dict[str, Callable[[ir.Node, Place], None]]:
        return {
            "BatchNormalization": self._hold,
            **dict.fromkeys(UNARY | POOLS, self._through),
            **dict.fromkeys(BINARY, self._combine),
            **dict.fromkeys(REDUCTIONS, self._reduce),
        }

    def _hold(self, node: ir.Node, place: Place) -> None:
        """Follow a node that holds something per channel on axis 1."""
        if place != Place(1) or any(constant(each) is None for each in node.inputs[1:]):
            return self._stop(f"{node.name} ({node.op_type}) is not followed")
        self.group.within.append(node)
        return self._through(node, place)

    def _through(self, node: ir.Node, place: Place) -> None:
        if node.op_type in POOLS and place != Place(1):
            return self._stop(f"{node.name} pools over them")
        if any(value.uses() for value in node.outputs[1:]):
            return self._stop(f"{node.name} ({node.op_type}) has a second output")
        for value in (node.inputs[0], node.outputs[0]):
            assert value is not None
            self._open.append((value, place))
        return None

    def _combine(self, node: ir.Node, place: Place) -> None:
        """Follow an elementwise node to whatever operand has these channels too."""
        size = rank(node.outputs[0])
        self._open.append((node.outputs[0], place))
        for value in node.inputs:
            assert value is not None
            array = constant(value)
            shape = tuple(array.shape) if array is not None else _shape(value)
            if size is None or shape is None:
                return self._stop(f"{node.name} has operands of unknown shape")
            axis = place.axis - (size - len(shape))
            if axis < 0 or shape[axis] == 1:
                continue  # broadcast: no channel of its own
            if shape[axis] != self.group.width * place.repeat:
                return self._stop(f"{node.name} combines them with something else")
            if array is None:
                self._open.append((value, Place(axis, place.repeat)))
            elif node not in self.group.within:
                self.group.within.append(node)
        return None

    def _reduce(self, node: ir.Node, place: Place) -> None:
        """Follow a mean over positions."""
        size, axes = rank(node.inputs[0]), _axes(node)
        if size is None or axes is None:
            return self._stop(f"{node.name} ({node.op_type}) is not followed")
        gone = {axis % size for axis in axes}
        if place.axis in gone or (attribute(node, "keepdims", 1) == 0 and min(gone) < place.axis):
            return self._stop(f"{node.name} reduces over them")
        return self._through(node, place)

    def _flatten(self, node: ir.Node, place: Place) -> None:
        """Follow channels that are laid side by side with their positions."""
        source, shape = node.inputs[0], constant(node.inputs[1]) if len(node.inputs) > 1 else None
        inner = None if source is None else _shape(source)
        if shape is not None and not (shape.size == 2 and int(shape[1]) == -1):
            return self._stop(f"{node.name} gives a shape that counts them")
        flat = node.op_type == "Reshape" or attribute(node, "axis", 1) == 1
        if place != Place(1) or inner is None or None in inner[2:] or not flat:
            return self._stop(f"{node.name} ({node.op_type}) is not followed")
        if node.op_type == "Reshape" and shape is None:
            return self._stop(f"{node.name} has a computed shape")
        repeat = int(np.prod([dim or 1 for dim in inner[2:]]))
        self._open.append((node.outputs[0], Place(1, repeat)))
        return None


def _written(layer: ir.Node) -> Place:
    size = rank(layer.outputs[0])
    return Place(1 if layer.op_type != "MatMul" or size is None else size - 1)


def _read_at(layer: ir.Node) -> int | None:
    """Return the axis of the input that the columns of a layer belong to."""
    size = rank(layer.inputs[0])
    if layer.op_type != "MatMul":
        return 1
    return None if size is None else size - 1


def _shape(value: ir.Value) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def _axes(node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes of a reduction, None where they are computed or not given."""
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"].as_ints())
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else tuple(int(axis) for axis in array)
