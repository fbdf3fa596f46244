"""Fold batch normalization into the convolution or matrix product before it.

Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2 and eq. (14):
``w' = w * gamma / sqrt(var + eps)``, ``b' = (b - mean) * gamma / sqrt(var + eps) + beta``.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.constants import Array, add_constant, attribute, constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step


class FoldBatchnorm(Step, frozen=True):
    """Give each Conv or Gemm the scale and shift of the BatchNormalization after it."""

    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Fold one by one, in graph order."""
        graph = model.graph
        for norm in [node for node in graph if node.op_type == "BatchNormalization"]:
            host = _host(norm)
            if host is not None:
                _fold(graph, host, norm)
                yield Edit(str(host.name), f"took over {norm.name}")


def _host(norm: ir.Node) -> ir.Node | None:
    """Return the node that can take over ``norm``, if there is one."""
    source = norm.inputs[0]
    node = None if source is None else source.producer()
    if node is None or source is None or len(source.uses()) > 1 or source.is_graph_output():
        return None
    fits = node.op_type == "Conv" or (
        node.op_type == "Gemm"
        and attribute(node, "transA", 0) == 0
        and all(_is_one(node, factor) for factor in ("alpha", "beta"))
    )
    constants = [*node.inputs[1:], *norm.inputs[1:5]]
    known = all(value is None or constant(value) is not None for value in constants)
    trained = len(norm.outputs) == 1 and attribute(norm, "training_mode", 0) == 0
    return node if fits and known and trained else None


def _is_one(node: ir.Node, factor: str) -> bool:
    found = node.attributes.get(factor)
    return found is None or found.as_float() == 1.0


def _fold(graph: ir.Graph, host: ir.Node, norm: ir.Node) -> None:
    gamma, beta, mean, var = (_float64(value) for value in norm.inputs[1:5])
    epsilon = norm.attributes.get("epsilon")
    factor = gamma / np.sqrt(var + (1e-5 if epsilon is None else epsilon.as_float()))
    weight = _float64(host.inputs[1])
    axis = 0 if host.op_type == "Conv" or attribute(host, "transB", 0) else 1
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    has_bias = len(host.inputs) > 2 and host.inputs[2] is not None
    bias = _float64(host.inputs[2]) if has_bias else np.zeros_like(mean)
    new = (("weight", weight * factor.reshape(shape)), ("bias", (bias - mean) * factor + beta))
    host.resize_inputs(3)
    for index, (part, array) in enumerate(new, start=1):
        stored = _stored(array, like=host.inputs[1])
        host.replace_input_with(index, add_constant(graph, f"{host.name}.folded_{part}", stored))
    inner, outer = host.outputs[0], norm.outputs[0]
    inner.type, inner.shape = outer.type, outer.shape
    name, outer.name = outer.name, f"{outer.name}.folded"
    ir.convenience.replace_all_uses_with(outer, inner, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    inner.name = name


def _stored(array: Array, like: ir.Value | None) -> Array:
    """Round to the type of ``like``; what is subnormal in float32, slow on some CPUs, becomes 0."""
    flushed = np.where(np.abs(array) < np.finfo(np.float32).tiny, 0, array)
    return flushed.astype(_constant(like).dtype)


def _float64(value: ir.Value | None) -> npt.NDArray[np.float64]:
    return _constant(value).astype(np.float64)


def _constant(value: ir.Value | None) -> Array:
    array = constant(value)
    assert array is not None, "checked by _host"
    return array
