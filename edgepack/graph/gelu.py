"""Exact GELU, ``x / 2 * (1 + erf(x / sqrt 2))``: as one node, or spelled out around an Erf.

Below opset 20 there is no Gelu; torch's exporters and model authors then write the same product in
several orders, and divide by the root of two or multiply by its inverse.

Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import constant

_NEAR = 1e-4
"""Relative; authors write 1.4142, and exporters the nearest float32."""


@dataclass(frozen=True, slots=True)
class Gelu:
    """One exact GELU.

    Attributes:
        source: What enters it.
        core: The Gelu or the Erf; its name is that of the whole.
        end: The node whose output is the result.
    """

    source: ir.Value
    core: ir.Node
    end: ir.Node


def find(node: ir.Node) -> Gelu | None:
    """Return the GELU that ``node`` is, or whose Erf it is.

    None where there is none, or where something inside one is read from outside.
    """
    source = node.inputs[0] if node.inputs else None
    if source is None or source.dtype != ir.DataType.FLOAT:
        return None
    if node.op_type == "Gelu" and node.domain in {"", "com.microsoft"}:
        form = node.attributes.get("approximate")
        exact = form is None or form.as_string() == "none"
        return Gelu(source, node, node) if exact else None
    return _around(node) if node.op_type == "Erf" else None


def _around(erf: ir.Node) -> Gelu | None:
    inner = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    source = None if inner is None or _outside(inner) else _scaled(inner)
    plus = _next(erf)
    if source is None or plus is None or plus.op_type != "Add" or _other(plus, 1.0) is None:
        return None
    first = _next(plus)
    if first is None or first.op_type != "Mul":
        return None
    (factor,) = (value for value in first.inputs if value is not plus.outputs[0])
    if _is(factor, 0.5) or factor is source:
        second = _next(first)
        if second is None or second.op_type != "Mul":
            return None
        (last,) = (value for value in second.inputs if value is not first.outputs[0])
        whole = last is source if _is(factor, 0.5) else _is(last, 0.5)
        return Gelu(source, erf, second) if whole else None
    half = None if factor is None else factor.producer()
    if half is None or half.op_type != "Mul" or _outside(half) or _other(half, 0.5) is not source:
        return None
    return Gelu(source, erf, first)


def _scaled(node: ir.Node) -> ir.Value | None:
    """Return what a node divides by the root of two."""
    if node.op_type == "Div":
        return node.inputs[0] if _is(node.inputs[1], 2**0.5) else None
    return _other(node, 0.5**0.5) if node.op_type == "Mul" else None


def _other(node: ir.Node, scalar: float) -> ir.Value | None:
    """Return the operand beside a constant scalar."""
    first, second = node.inputs
    if _is(second, scalar):
        return first
    return second if _is(first, scalar) else None


def _is(value: ir.Value | None, scalar: float) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and bool(np.isclose(array, scalar, _NEAR, 0).all())


def _next(node: ir.Node) -> ir.Node | None:
    """Return the only reader of a node."""
    return None if _outside(node) else next(iter(node.outputs[0].uses()))[0]


def _outside(node: ir.Node) -> bool:
    """Whether more than one node, or the caller of the model, sees the result."""
    out = node.outputs[0]
    return out.is_graph_output() or len(out.uses()) != 1
