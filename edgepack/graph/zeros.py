"""Which channels of a group are zero whatever the input.

A product of zero and a number that is not finite is no zero; where a factor may be infinite nothing
is proved.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.chains import rows_first
from edgepack.graph.channels import FLAT, POOLS, REDUCTIONS, Group, depthwise, is_layer
from edgepack.graph.constants import Array, constant

Mask = npt.NDArray[np.bool_]

_NAMES = """
Abs Cast Ceil Celu Dropout Elu Erf Floor Gelu HardSwish Identity LeakyRelu Mish Neg PRelu Relu Round
Selu Sign Softsign Sqrt Tanh
"""
_KEEPS = frozenset(_NAMES.split())
"""Functions with ``f(0) = 0``."""

_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Softsign", "Erf"})


class Zeros:
    """The channels of a group's tensors that are zero, worked out where they are asked for."""

    def __init__(self, group: Group) -> None:
        """Look at one group."""
        self._group = group
        self._known: dict[ir.Value, Mask] = {}

    def read(self) -> Mask:
        """Return the channels that every reader reads as zeros."""
        found = np.ones(self._group.width, np.bool_)
        for node in self._group.readers:
            value = node.inputs[0]
            assert value is not None
            found &= self._of(value)
        return found

    def written(self) -> Mask:
        """Return the channels that every writer writes as zeros."""
        masks = [self._layer(node) for node in self._group.writers]
        return np.asarray(np.logical_and.reduce(masks))

    def _of(self, value: ir.Value) -> Mask:
        """Return the channels of ``value`` that are zero."""
        if value not in self._known:
            self._known[value] = self._nothing()  # what a loop would ask for
            self._known[value] = self._computed(value)
        return self._known[value]

    def _nothing(self) -> Mask:
        return np.zeros(self._group.width, np.bool_)

    def _computed(self, value: ir.Value) -> Mask:
        node = value.producer()
        if node is None or value not in self._group.values:
            return self._nothing()
        if is_layer(node):
            return self._layer(node)
        if node.op_type in _KEEPS | POOLS | REDUCTIONS | FLAT:
            return self._input(node, 0)
        ways = {
            "Clip": self._clip,
            "BatchNormalization": self._batch_norm,
            "Mul": self._product,
            "Div": self._quotient,
            **dict.fromkeys(("Add", "Sub", "Max", "Min"), self._all),
        }
        return ways[node.op_type](node) if node.op_type in ways else self._nothing()

    def _clip(self, node: ir.Node) -> Mask:
        return self._input(node, 0) if _keeps_zero(node) else self._nothing()

    def _all(self, node: ir.Node) -> Mask:
        masks = [self._input(node, index) for index in range(len(node.inputs))]
        return np.asarray(np.logical_and.reduce(masks))

    def _product(self, node: ir.Node) -> Mask:
        a, b = self._input(node, 0), self._input(node, 1)
        return (a & _finite(node, 1)) | (b & _finite(node, 0)) | (a & b)

    def _quotient(self, node: ir.Node) -> Mask:
        divisor = constant(node.inputs[1])
        sure = divisor is not None and bool((divisor != 0).all())
        return self._input(node, 0) if sure else self._nothing()

    def _layer(self, node: ir.Node) -> Mask:
        rows = _flat(node, 1)
        zero = np.asarray(~(rows != 0).any(axis=1))
        if depthwise(node):
            zero |= self._input(node, 0) & np.isfinite(rows).all(axis=1)
        if len(node.inputs) > 2 and (bias := constant(node.inputs[2])) is not None:
            zero &= bias.reshape(-1) == 0
        return zero

    def _batch_norm(self, node: ir.Node) -> Mask:
        """A mean and an offset of exactly 0: nothing is left to cancel to rounding."""
        scale, offset, mean, variance = (constant(each) for each in node.inputs[1:5])
        if scale is None or offset is None or mean is None or variance is None:
            return self._nothing()
        still = (offset == 0) & (mean == 0) & np.isfinite(scale) & (variance >= 0)
        return np.asarray(self._input(node, 0) & still)

    def _input(self, node: ir.Node, index: int) -> Mask:
        """Return the channels of one operand that are zero."""
        value = node.inputs[index]
        assert value is not None
        array = constant(value)
        if array is None:
            return self._of(value)
        place = self._group.values[node.outputs[0]]
        rank = len(node.outputs[0].shape or ())
        axis = place.axis - (rank - array.ndim)
        if axis < 0 or array.shape[axis] == 1:
            return np.full(self._group.width, not array.any())
        rows = np.moveaxis(array, axis, 0).reshape(self._group.width, -1)
        return np.asarray(~(rows != 0).any(axis=1))


def _flat(node: ir.Node, index: int) -> Array:
    weight = constant(node.inputs[index])
    assert weight is not None, "a layer has a constant weight"
    rows = weight if rows_first(node) else weight.T
    return rows.reshape(len(rows), -1)


def _finite(node: ir.Node, index: int) -> bool:
    """Whether an operand is finite whatever the input."""
    value = node.inputs[index]
    array = constant(value)
    if array is not None:
        return bool(np.isfinite(array).all())
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type in _BOUNDED


def _keeps_zero(clip: ir.Node) -> bool:
    lowest, highest = [*clip.inputs[1:3], None, None][:2]
    bounds = [constant(bound) for bound in (lowest, highest)]
    if any(b is None and v is not None for b, v in zip(bounds, (lowest, highest), strict=True)):
        return False
    low, high = bounds
    return (low is None or bool(low <= 0)) and (high is None or bool(high >= 0))
