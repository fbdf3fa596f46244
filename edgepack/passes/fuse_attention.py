"""Attention spelled out in single nodes becomes one: MultiHeadAttention of the runtime.

The scores of all heads are then made and used up head by head, and four transpositions go. A mask
stays what it was, added to the scores: the kernel's own masks mean other values. Where minus
infinity masks every key of a row, softmax gives NaN; the guard that turns it into 0 moves behind
the product, where there are fewer values and NaN stands in the same rows.

Pattern: ``graph/attention.py``. Source: onnxruntime, docs/ContribOperators.md, MultiHeadAttention.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepack.graph.attention import Attention, UnlikeError, find
from edgepack.graph.constants import add_constant, rank
from edgepack.graph.kernels import ATTENTION
from edgepack.graph.lookup import label
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target


class FuseAttention(Step, frozen=True):
    """Replace scaled dot-product attention by the runtime's own kernel; outputs stay as they are.

    It is in no built-in recipe: on x86-64 the kernel was not shown to be faster than what it
    replaces (``python benchmarks/minilm_front.py`` makes the models to time).
    """

    keeps: ClassVar[Keeps] = "values"

    def fit(self, target: Target) -> Self | Skip:
        """Skip where the runtime has no such kernel, or none that was tried."""
        if target.provider not in ATTENTION:
            return Skip("fuse_attention", f"{target.provider} has no attention kernel to rely on")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Replace what fits, name what is unlike."""
        writer, fused = _Writer(model.graph), 0
        for softmax in [node for node in model.graph if node.op_type == "Softmax"]:
            where = label(softmax)
            try:
                found = find(softmax)
            except UnlikeError as reason:
                yield Edit(where, f"attention is not fused: {reason}", left=True)
                continue
            if found is not None:
                writer.write(found, where)
                fused += 1
                yield Edit(where, f"attention of {found.heads} heads is one node")
        if fused:
            RemoveUnusedNodesPass()(model)


class _Writer:
    """Edits one graph; attentions that add one mask share its widened form."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._masks: dict[tuple[ir.Value, object], ir.Value] = {}

    def write(self, found: Attention, name: str) -> None:
        """Put one node, and what it needs around it, where the attention ended."""
        made = list[ir.Node]()
        query = found.query
        for op, scalars in (("Mul", found.factors.multiplied), ("Div", found.factors.divided)):
            for index, scalar in enumerate(scalars):
                part = f"{name}.{op.lower()}.{index}"
                made.append(ir.node(op, [query, scalar], name=part))
                query = made[-1].outputs[0]
                query.name, query.type, query.shape = part, found.query.type, found.query.shape
        bias = None if found.mask is None else self._widened(found, found.mask)
        inputs = [query, found.key, found.value, None, None, bias]
        made.append(
            ir.node(
                "MultiHeadAttention",
                inputs[: 3 if bias is None else 6],
                {"num_heads": found.heads, "scale": found.factors.constant},
                domain="com.microsoft",
                name=name,
            )
        )
        if found.guarded:
            made += self._guard(made[-1], found, name)
        self._graph.opset_imports["com.microsoft"] = 1
        end = found.end
        made[-1].outputs[0].type, made[-1].outputs[0].shape = (
            end.outputs[0].type,
            end.outputs[0].shape,
        )
        ir.convenience.replace_nodes_and_values(
            self._graph, end, [end], made, end.outputs, made[-1].outputs
        )

    def _widened(self, found: Attention, mask: ir.Value) -> ir.Value:
        """Return the mask with four axes, the third as long as the query: the kernel asks it."""
        shape = mask.shape
        assert shape is not None
        if rank(mask) == 4 and shape[2] != 1:
            return mask
        rows = None if found.query.shape is None else found.query.shape[1]
        key = (mask, rows if isinstance(rows, int) else found.query)
        if key not in self._masks:
            to, made = self._rows(found.query, f"{mask.name}.rows")
            wide = ir.node("Expand", [mask, to], name=f"{mask.name}.wide")
            self._graph.insert_before(found.end, [*made, wide])
            wide.outputs[0].name, wide.outputs[0].type = f"{mask.name}.wide", mask.type
            self._masks[key] = wide.outputs[0]
        return self._masks[key]

    def _rows(self, query: ir.Value, name: str) -> tuple[ir.Value, list[ir.Node]]:
        """Return ``[1, 1, tokens, 1]`` and the nodes that compute it."""
        assert query.shape is not None
        tokens = query.shape[1]
        if isinstance(tokens, int):
            return add_constant(self._graph, name, np.array([1, 1, tokens, 1], np.int64)), []
        one = add_constant(self._graph, f"{name}.one", np.array([1], np.int64))
        whole = ir.node("Shape", [query], name=f"{name}.shape")
        row = ir.node("Gather", [whole.outputs[0], one], {"axis": 0}, name=f"{name}.tokens")
        four = ir.node("Concat", [one, one, row.outputs[0], one], {"axis": 0}, name=name)
        for each in (whole, row, four):
            each.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        return four.outputs[0], [whole, row, four]

    def _guard(self, node: ir.Node, found: Attention, name: str) -> list[ir.Node]:
        """Return the nodes that turn NaN into 0."""
        out = node.outputs[0]
        out.type, out.shape = found.end.outputs[0].type, found.end.outputs[0].shape
        asked = ir.node("IsNaN", [out], name=f"{name}.isnan")
        asked.outputs[0].type = ir.TensorType(ir.DataType.BOOL)
        zero = add_constant(self._graph, f"{name}.zero", np.zeros((), np.float32))
        return [asked, ir.node("Where", [asked.outputs[0], zero, out], name=f"{name}.guarded")]
