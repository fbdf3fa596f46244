"""Writes integer products whose input is rounded at run time.

Matrices become standard nodes, ``DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul``, which the
runtime fuses into one DynamicQuantizeMatMul together with an Add of a constant vector. An LSTM
becomes ``com.microsoft.DynamicQuantizeLSTM``, a kernel of the CPU provider alone.
Zero points are always written: onnxruntime 1.20 aborts without them.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgepack.calibration.moments import Moments
from edgepack.graph.constants import Array, add_constant, attribute, constant
from edgepack.quantization.placement import output_axis
from edgepack.quantization.refine import refine
from edgepack.quantization.scales import QuantizedWeight, quantize_weight
from edgepack.quantization.scheme import Scheme, scheme_for
from edgepack.spec.target import Int8

_FLOAT = {"to": int(ir.DataType.FLOAT)}
_LSTM_INPUTS = 8
"""X, W, R, B, sequence_lens, initial_h, initial_c, P; scales and zero points follow."""


def dynamic_scheme(facts: Int8) -> Scheme:
    """Return the scheme at run time: activations are uint8 whatever a target prefers."""
    unsigned = scheme_for(facts)
    lawful = facts.saturating and facts.weights == "int8"
    return replace(unsigned, activations=np.dtype(np.uint8), symmetric=False, pair_law=lawful)


class DynamicWriter:
    """Edits one graph; tensors read by several products are rounded once."""

    def __init__(
        self, graph: ir.Graph, scheme: Scheme, moments: Mapping[str, Moments] | None = None
    ) -> None:
        """Prepare edits; ``moments`` of the inputs of products, by name, are rounded for."""
        self._graph = graph
        self._scheme = scheme
        self._moments = moments or {}
        self._rounded: dict[ir.Value, ir.Node] = {}

    def write(self, node: ir.Node) -> str:
        """Make a MatMul, Gemm or LSTM with constant weights compute on integers."""
        size = self._lstm(node) if node.op_type == "LSTM" else self._product(node)
        law = " under the pair law" if self._scheme.pair_law else ""
        return f"{size} weights to {self._scheme.weights}{law}, ranges at run time"

    def _product(self, node: ir.Node) -> int:
        source, name = node.inputs[0], str(node.name)
        assert source is not None
        step, zero = self._round(source, node).outputs[1:]
        codes, scale, weight_zero = self._matrix(node)
        rounded = self._rounded[source].outputs[0]
        product = ir.node("MatMulInteger", [rounded, codes, zero, weight_zero], name=name)
        real = ir.node("Cast", product.outputs, _FLOAT, name=f"{name}.cast")
        scales = ir.node("Mul", [step, scale], name=f"{name}.scale")
        result = ir.node("Mul", [real.outputs[0], scales.outputs[0]], name=f"{name}.restore")
        made = [product, real, scales, result]
        if node.op_type == "Gemm" and len(node.inputs) > 2 and node.inputs[2] is not None:
            made.append(ir.node("Add", [result.outputs[0], node.inputs[2]], name=f"{name}.bias"))
        ir.convenience.replace_nodes_and_values(
            self._graph, node, [node], made, node.outputs, made[-1].outputs
        )
        return int(np.prod(codes.shape.numpy())) if codes.shape else 0

    def _round(self, source: ir.Value, reader: ir.Node) -> ir.Node:
        """Return the node that rounds ``source``, made in front of its first integer reader."""
        if source not in self._rounded:
            made = ir.node(
                "DynamicQuantizeLinear", [source], num_outputs=3, name=f"{source.name}.dynamic"
            )
            self._graph.insert_before(reader, [made])
            self._rounded[source] = made
        return self._rounded[source]

    def _matrix(self, node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return codes ``(K, N)``, their scales ``(N,)`` and zero point.

        Never shared: with two readers of one constant the exact mode of onnxruntime 1.32 fails
        ("attempt to replace the existing tensor").
        """
        weight, axis = constant(node.inputs[1]), output_axis(node)
        assert weight is not None
        packed = refine(
            self._quantize(weight, axis),
            weight,
            self._moments.get(str(node.name)),
            pair_law=self._scheme.pair_law,
        )
        codes, name = packed.codes, f"{node.name}.weight"
        return (
            add_constant(self._graph, name, codes.T.copy() if axis == 0 else codes),
            add_constant(self._graph, f"{name}.scale", packed.scale),
            add_constant(self._graph, f"{name}.zero_point", packed.zero_point[0]),
        )

    def _quantize(self, weight: Array, axis: int) -> QuantizedWeight:
        exact = weight.astype(np.float32)
        return quantize_weight(exact, axis, self._scheme, np.zeros(weight.shape[axis]))

    def _lstm(self, node: ir.Node) -> int:
        """Replace an LSTM; the kernel wants each weight as ``(directions, K, 4 * hidden)``."""
        inputs = [*node.inputs, *[None] * (_LSTM_INPUTS - len(node.inputs))]
        size, tail = 0, list[ir.Value | None]()
        for index, part in ((1, "input"), (2, "recurrent")):
            weight = constant(inputs[index])
            assert weight is not None
            directions = [self._quantize(each.T, 1) for each in weight]
            codes, scales, zeros = (
                np.stack([getattr(each, field) for each in directions])
                for field in ("codes", "scale", "zero_point")
            )
            name = f"{node.name}.{part}"
            inputs[index] = add_constant(self._graph, name, codes)
            tail.append(add_constant(self._graph, f"{name}.scale", scales))
            tail.append(add_constant(self._graph, f"{name}.zero_point", zeros))
            size += weight.size
        made = ir.node(
            "DynamicQuantizeLSTM",
            [*inputs, *tail],
            {name: each for name, each in node.attributes.items() if name != "layout"},
            domain="com.microsoft",
            num_outputs=len(node.outputs),
            name=node.name,
        )
        self._graph.opset_imports["com.microsoft"] = 1
        ir.convenience.replace_nodes_and_values(
            self._graph, node, [node], [made], node.outputs, made.outputs
        )
        return size


def why_not_lstm(node: ir.Node) -> str:
    """Return the reason to leave an LSTM in float, or an empty string."""
    weights = [constant(value) for value in node.inputs[1:3]]
    if any(weight is None for weight in weights):
        return "its weights are not constant"
    if any(weight.dtype != np.float32 for weight in weights if weight is not None):
        return "its weights are not float32"
    if attribute(node, "layout", 0) != 0:
        return "the integer kernel takes time as the first axis only"
    return ""
