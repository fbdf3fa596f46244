"""GELU by a hyperbolic tangent, which takes less time, where other nodes are rounded anyway.

``x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`` differs from the exact function by at most
4.74e-4, near 2.7 and -2.7; an activation in eight bits is rounded by more where its range is over
a quarter. What a whole transformer gains on AVX2 is in ``benchmarks/results/gelu_avx2.json``.

Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2; ONNX, Gelu, ``approximate``;
onnxruntime, docs/ContribOperators.md, FastGelu.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepack.graph.gelu import Gelu, find
from edgepack.graph.precision import integer_nodes
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

FARTHEST = 4.74e-4
"""Largest difference from the exact function, at any input."""

_STANDARD = 20
"""The first opset with Gelu; below it the form is an operator of the runtime's."""


class ApproximateGelu(Step, frozen=True):
    """Replace exact GELU by its tanh form in a model that computes on integers; else do nothing.

    Values change: it stands behind the step that rounds, and the gate judges both together.
    """

    keeps: ClassVar[Keeps] = "interface"

    def fit(self, target: Target) -> Self | Skip:
        """Skip where nothing is rounded, or where the kernels are other ones."""
        if target.provider != "CPUExecutionProvider":
            reason = f"{target.provider} was not seen to gain from another GELU"
            return Skip("approximate_gelu", reason)
        if target.int8 is None:
            return Skip("approximate_gelu", f"{target.name} has no integer kernels: values stay")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Replace every GELU, or none."""
        if not integer_nodes(model):
            return
        found = [gelu for node in model.graph if (gelu := find(node)) is not None]
        for gelu in found:
            _write(model.graph, gelu)
        if found:
            RemoveUnusedNodesPass()(model)
            what = f"{len(found)} GELU by tanh, which moves each value by {FARTHEST:g} at most"
            yield Edit("graph", what)  # the nodes themselves stay in float, and have their reason


def _write(graph: ir.Graph, gelu: Gelu) -> None:
    """Put one node where a GELU ended."""
    if graph.opset_imports.get("", 0) >= _STANDARD:
        made = ir.node("Gelu", [gelu.source], {"approximate": "tanh"}, name=gelu.core.name)
    else:
        made = ir.node("FastGelu", [gelu.source], domain="com.microsoft", name=gelu.core.name)
        graph.opset_imports["com.microsoft"] = 1
    out, old = made.outputs[0], gelu.end.outputs[0]
    out.type, out.shape = old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, gelu.end, [gelu.end], [made], [old], [out])
