"""Which pictures the runtime computes in blocks of channels (NCHWc) on x86.

Source: ONNX Runtime, onnxruntime/core/optimizer/nchwc_transformer.cc. Where another version does
otherwise, calibration takes longer and finds the same.
"""

import onnx_ir as ir

from edgepack.graph.constants import attribute

ALIGNED = 4
"""No other numbers of channels are taken into blocks."""

_BLOCK = 16
"""Channels in a block with AVX-512; with AVX2 it is half of that."""

_KEEP = frozenset(
    {"Relu", "Sigmoid", "Tanh", "Clip", "BatchNormalization", "MaxPool", "AveragePool"}
)
"""Run in the layout of their first input."""

_JOIN = frozenset({"Add", "Sum", "Mul"})
"""Run in blocks where all their inputs are in blocks and of one shape; Concat, of any shapes."""


def in_blocks(graph: ir.Graph) -> set[str]:
    """Return the names of the tensors that are computed in blocks."""
    found: set[str] = set()
    for node in graph:
        if node.op_type == "Conv":
            inside = _conv_in_blocks(node)
        elif node.op_type in _KEEP:
            inside = _name(node.inputs[0]) in found
        elif node.op_type == "Concat" or (node.op_type in _JOIN and _of_one_shape(node)):
            inside = all(_name(value) in found for value in node.inputs)
        else:
            inside = False
        if inside:
            found.add(_name(node.outputs[0]))
    return found


def _conv_in_blocks(node: ir.Node) -> bool:
    weight = None if node.inputs[1] is None else node.inputs[1].const_value
    if weight is None or len(weight.shape) != 4:
        return False
    outputs, inputs = map(int, weight.numpy().shape[:2])
    groups = attribute(node, "group", 1)
    if groups == 1:
        return inputs < _BLOCK // 2 or inputs % ALIGNED == 0
    if inputs == 1 and outputs == groups:
        return outputs % ALIGNED == 0
    return inputs % _BLOCK == 0 and outputs // groups % _BLOCK == 0


def _of_one_shape(node: ir.Node) -> bool:
    return len({str(value.shape) for value in node.inputs if value is not None}) == 1


def _name(value: ir.Value | None) -> str:
    return "" if value is None else str(value.name)
