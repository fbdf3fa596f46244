"""Writes a decided placement into a graph as QuantizeLinear and DequantizeLinear."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.calibration.moments import Moments
from edgepack.graph.constants import Array, add_constant, constant
from edgepack.graph.kernels import WEIGHTED
from edgepack.quantization.learned import WeightScale
from edgepack.quantization.placement import Placement, is_depthwise, output_axis
from edgepack.quantization.refine import refine
from edgepack.quantization.scales import (
    ActivationScale,
    least_scales,
    quantize_weight,
    round_weight,
)
from edgepack.quantization.scheme import Scheme

Note = tuple[str, str]
"""Where, and what was done."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of weights before they are rounded, by node.

    Attributes:
        learned: Scales that training found.
        moments: Second moments of what matrices multiply; those matrices are rounded by GPTQ.
    """

    learned: Mapping[str, WeightScale] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)


_NOTHING = Known()


class Writer:
    """Edits one graph in place; ``write`` yields each edit as it is made."""

    def __init__(
        self,
        graph: ir.Graph,
        scheme: Scheme,
        plan: Placement,
        scales: Mapping[ir.Value, ActivationScale],
        known: Known = _NOTHING,
    ) -> None:
        """Prepare to edit ``graph``, whose tensors in ``scales`` become integers."""
        self._graph = graph
        self._known = known
        self._scheme = scheme
        self._plan = plan
        self._scales = dict(scales)

    def write(self) -> Iterator[Note]:
        """Absorb clamps, then make each node integer and each marked tensor a Q/DQ pair."""
        yield from self._absorb()
        nodes = list(self._graph)
        for value in [v for v in self._graph.inputs if v in self._scales]:
            self._insert_pair(value, nodes[0], before=True)
        for node in nodes:
            if node in self._plan.integer:
                yield self._make_integer(node)
            for value in [out for out in node.outputs if out in self._scales]:
                self._insert_pair(value, node, before=False)

    def _absorb(self) -> Iterator[Note]:
        """Drop each absorbed clamp; the node before it takes over its output's name and scale."""
        for inner, clamp in self._plan.absorbed.items():
            outer = clamp.outputs[0]
            name, outer.name = outer.name, f"{outer.name}.clamped"
            ir.convenience.replace_all_uses_with(outer, inner, replace_graph_outputs=True)
            self._graph.remove(clamp, safe=True)
            inner.name = name
            self._scales[inner] = self._scales.pop(outer)
            yield str(clamp.name), f"{clamp.op_type} absorbed by the range of {name}"

    def _insert_pair(self, value: ir.Value, anchor: ir.Node, *, before: bool) -> None:
        """Put Q and DQ behind ``value``; readers that want codes read the result."""
        scale, name = self._scales[value], str(value.name)
        step = add_constant(self._graph, f"{name}.scale", scale.scale)
        zero = add_constant(self._graph, f"{name}.zero_point", scale.zero_point)
        readers = [(user, i) for user, i in value.uses() if self._reads_codes(user, value)]
        quantize = _node("QuantizeLinear", [value, step, zero], f"{name}.q", value)
        restore = _node("DequantizeLinear", [quantize.outputs[0], step, zero], f"{name}.dq", value)
        for user, index in readers:
            user.replace_input_with(index, restore.outputs[0])
        if before:
            self._graph.insert_before(anchor, [quantize, restore])
        else:
            self._graph.insert_after(anchor, [quantize, restore])
        if value.is_graph_output() and self._exists_as_codes(value):
            self._end_in(value, restore.outputs[0])

    def _end_in(self, value: ir.Value, restored: ir.Value) -> None:
        """Let the graph end in the restored tensor, under the old name."""
        name, value.name = value.name, f"{value.name}.integer"
        restored.name = name
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = restored

    def _exists_as_codes(self, value: ir.Value) -> bool:
        """Whether no float result is left to read, or none that differs from the restored one."""
        maker = value.producer()
        moved = self._plan.scale_of.get(value, value) is not value
        return moved or (maker is not None and self._plan.ends_in_codes(maker))

    def _reads_codes(self, user: ir.Node, value: ir.Value) -> bool:
        """Whether ``user`` gets the rounded tensor; float readers of a float result keep it."""
        return (
            self._exists_as_codes(value)
            or user in self._plan.integer
            or any(out in self._scales for out in user.outputs)
        )

    def _make_integer(self, node: ir.Node) -> Note:
        where = str(node.name)
        if node.op_type not in WEIGHTED:
            return where, "computes on integers"
        weight, bias = constant(node.inputs[1]), _bias(node)
        assert weight is not None
        axis, depthwise = output_axis(node), is_depthwise(node)
        step = self._input_scale(node)
        weight, least = weight.astype(np.float32), least_scales(bias, step, weight.shape[axis])
        found = self._known.learned.get(where)
        if found is None:
            packed = quantize_weight(weight, axis, self._scheme, least, depthwise=depthwise)
            seen = self._known.moments.get(where)
            packed = refine(packed, weight, seen, pair_law=self._scheme.pair_law)
        else:
            rule = (found.scale, found.limit)
            packed = round_weight(weight, axis, self._scheme, rule, depthwise=depthwise)
        self._restore(node, 1, (packed.codes, packed.scale, packed.zero_point, axis))
        if bias is not None and self._scheme.integer_bias:
            codes, scale = quantize_bias(bias, packed.scale, step)
            self._restore(node, 2, (codes, scale, np.zeros(scale.shape, np.int32), 0))
        law = " under the pair law" if self._scheme.pair_law and not depthwise else ""
        how = "" if found is None else f", {found.limit} the largest code, by learned scales"
        return where, f"{weight.size} weights to {packed.codes.dtype}{law}{how}"

    def _input_scale(self, node: ir.Node) -> float:
        """Return the scale of the pair in front of ``node``."""
        source = node.inputs[0]
        restore = None if source is None else source.producer()
        assert restore is not None, "every integer node reads a restored tensor"
        step = constant(restore.inputs[1])
        assert step is not None, "a scale is always a constant"
        return float(step)

    def _restore(self, node: ir.Node, index: int, packed: tuple[Array, Array, Array, int]) -> None:
        """Let an input of ``node`` be integers behind a DequantizeLinear."""
        name = f"{node.name}.{'weight' if index == 1 else 'bias'}"
        *parts, axis = packed
        suffixes = ("", ".scale", ".zero_point")
        values = [
            add_constant(self._graph, name + suffix, part)
            for suffix, part in zip(suffixes, parts, strict=True)
        ]
        old = node.inputs[index]
        assert old is not None
        restore = _node("DequantizeLinear", values, f"{name}.dq", old, axis=axis)
        self._graph.insert_before(node, [restore])
        node.replace_input_with(index, restore.outputs[0])


def quantize_bias(
    bias: Array, weight_scale: npt.NDArray[np.float32], input_scale: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Round a bias to int32 in the unit of the accumulated products.

    Source: Jacob et al. 2018, arXiv:1712.05877, eq. (11): S_bias = S_weight * S_input.
    """
    product = weight_scale.astype(np.float64) * input_scale
    scale = np.maximum(product, np.finfo(np.float32).tiny).astype(np.float32)
    limit = np.iinfo(np.int32)
    codes = np.rint(bias.astype(np.float64).reshape(-1) / scale.astype(np.float64))
    return np.clip(codes, limit.min, limit.max).astype(np.int32), scale


def _bias(node: ir.Node) -> Array | None:
    return constant(node.inputs[2]) if len(node.inputs) > 2 else None


def _node(
    op: str, inputs: list[ir.Value], out: str, like: ir.Value, *, axis: int | None = None
) -> ir.Node:
    """Make a Q or DQ node whose output is called ``out`` and has the shape of ``like``."""
    attributes = {} if axis is None else {"axis": axis}
    node = ir.node(op, inputs, attributes, name=out)
    codes = inputs[-1].dtype if op == "QuantizeLinear" else ir.DataType.FLOAT
    value = node.outputs[0]
    value.name, value.shape = out, like.shape
    value.type = ir.TensorType(codes or ir.DataType.FLOAT)
    return node
