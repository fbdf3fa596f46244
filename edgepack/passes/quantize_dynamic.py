"""Dynamic int8: integer matrices and LSTMs, ranges of their inputs at run time; no data needed.

Products of two activations (attention scores), softmax and layer norms stay in float, and so do
convolutions: ConvInteger took 3.2 times as long as float. What already computes on integers is
left alone, so that the pass may follow ``quantize_static``.

Source: onnxruntime docs, Quantize ONNX Models (dynamic quantization for RNNs and transformers);
figures: ``python benchmarks/integer_forms.py``, benchmarks/results/integer_forms.json.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar, Literal, Self

import onnx_ir as ir

from edgepack.calibration.moments import Moments, too_wide
from edgepack.graph.bodies import why_not_inside
from edgepack.graph.constants import constant
from edgepack.graph.kernels import CLAMPS, FREE
from edgepack.graph.lookup import check_nodes, label
from edgepack.graph.precision import restores, whole_precision
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.dynamic import DynamicWriter, dynamic_scheme, why_not_lstm
from edgepack.quantization.placement import why_not_weighted
from edgepack.quantization.tables import Tables, is_table, why_not_table
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

_MATRICES = frozenset({"MatMul", "Gemm"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_REASONS = {
    **dict.fromkeys(_CONVOLUTIONS, "ranges at run time make a convolution slower than float"),
    **dict.fromkeys(("GRU", "RNN"), "the runtime has no integer kernel for it"),
}
_QUIET = FREE | CLAMPS | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Squeeze"}


class QuantizeDynamic(Step, frozen=True):
    """Quantize weights of MatMul, Gemm and LSTM to int8, inputs at run time; tables by rows.

    Attributes:
        exclude: Names of nodes to leave in float.
        min_size: Weights with fewer entries stay in float: rounding the input at run time then
            costs more than the product saves (128 x 128 at one row took 1.01 times as long).
        rounding: Of matrices: ``gptq`` makes up for errors on the inputs that were seen, and is
            ``nearest`` where there are no calibration data.
    """

    exclude: tuple[str, ...] = ()
    min_size: int = 16384
    rounding: Literal["gptq", "nearest"] = "nearest"
    keeps: ClassVar[Keeps] = "interface"

    def fit(self, target: Target) -> Self | Skip:
        """Skip where the integer kernels are missing or do not pay."""
        if target.provider != "CPUExecutionProvider":
            reason = f"{target.provider} has no integer kernels with ranges at run time"
            return Skip("quantize_dynamic", reason)
        if target.int8 is None:
            return Skip("quantize_dynamic", f"{target.name} has no integer kernels that pay")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Replace what gains, name what stays in float."""
        graph = model.graph
        assert ctx.target.int8 is not None, "fit() skips such targets"
        check_nodes(graph, self.exclude)
        scheme, tables = dynamic_scheme(ctx.target.int8), Tables(graph)
        writer = DynamicWriter(graph, scheme, self._moments(model, ctx))
        unpaid = _unpaid(graph)
        for node in list(graph):
            if _is_done(node) or (node.op_type in _QUIET and not is_table(node)):
                continue
            where, reason = label(node), self._why_not(node, ctx.spared)
            if not reason and node.op_type in _MATRICES:
                reason = unpaid
            if reason:
                yield Edit(where, reason, left=True)
            elif is_table(node):
                yield Edit(where, tables.write(node))
            else:
                wide = too_wide(node) if self.rounding == "gptq" else ""
                what = writer.write(node)
                yield Edit(where, f"{what}, to nearest: {wide}" if wide else what)

    def _moments(self, model: ir.Model, ctx: Context) -> Mapping[str, Moments]:
        """Return the second moments of the inputs of matrices, where GPTQ needs them."""
        if self.rounding == "nearest" or ctx.second is None or _unpaid(model.graph):
            return {}
        wanted = (node for node in model.graph if node.op_type in _MATRICES and not _is_done(node))
        names = [label(node) for node in wanted if not self._why_not(node, ctx.spared)]
        return ctx.second(model, tuple(names))

    def _why_not(self, node: ir.Node, spared: Collection[str]) -> str:
        """Return the reason to leave ``node`` in float, or an empty string."""
        if node.name in self.exclude:
            return "excluded by the recipe"
        if node.name in spared:
            return "spared by the gate"
        if is_table(node):
            return why_not_table(node, self.min_size)
        if node.domain not in {"", "ai.onnx"} or node.op_type not in _MATRICES | {"LSTM"}:
            reason = why_not_inside(node) or _REASONS.get(node.op_type, "")
            return reason or f"{node.op_type} has no integer kernel here"
        reason = why_not_lstm(node) if node.op_type == "LSTM" else why_not_weighted(node)
        return reason or self._too_small(node)

    def _too_small(self, node: ir.Node) -> str:
        size = sum(
            array.size for value in node.inputs[1:3] if (array := constant(value)) is not None
        )
        return f"its {size} weights are too few to gain" if size < self.min_size else ""


def _is_done(node: ir.Node) -> bool:
    """Whether a node computes on integers already, or only restores their scale."""
    return restores(node) or whole_precision(node) in {"int8", "int4"}


def _unpaid(graph: ir.Graph) -> str:
    """Return why no matrix of a graph is worth an integer product, or an empty string."""
    if _weights(graph, _CONVOLUTIONS) > _weights(graph, _MATRICES):
        return "convolutions hold most of the weights: too little would be gained"
    return ""


def _weights(graph: ir.Graph, operators: frozenset[str]) -> int:
    """Count the constant float weights of some operators."""
    arrays = (constant(node.inputs[1]) for node in graph if node.op_type in operators)
    return sum(array.size for array in arrays if array is not None)
