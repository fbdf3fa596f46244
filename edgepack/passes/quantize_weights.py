"""Weight-only quantization: weights in 8 or 4 bits, every product in float; no data needed.

At 8 bits weights are stored in int8 and unpacked when the model is loaded: float speed and float
memory, a quarter of the file. At 4 bits matrices become MatMulNBits, which reads packed blocks:
smaller in memory too. (At 8 bits that kernel needs a runtime newer than 1.20.)
Embedding tables get int8 rows either way. Rounding is to nearest, with scales of least error.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

import msgspec
import onnx_ir as ir

from edgepack.graph.lookup import check_nodes, label
from edgepack.graph.precision import restores
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.blocks import write_blocks
from edgepack.quantization.stored import Store, is_matrix_product, weights_of, why_not_stored
from edgepack.quantization.tables import Tables, is_table, why_not_table
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

_FEWEST_IN_A_BLOCK = 16
"""Smallest block that MatMulNBits takes; sizes are powers of two."""

_DOT_PRODUCT = "asimddp"
"""With it ARM cores have a kernel that rounds the input to bytes; without, the result would depend
on the core."""


class QuantizeWeights(Step, frozen=True):
    """Store weights of matrices, convolutions and recurrent layers in fewer bits.

    Attributes:
        bits: 8 takes every kind of weight, 4 the constant matrices of MatMul and Gemm.
        block: At 4 bits, neighbours along K that share a scale; a power of two from 16 on. 64
            weights take 0.56 byte each with their scale, 32 take 0.63.
        exclude: Names of nodes whose weights stay in float.
        min_size: Weights with fewer entries stay in float.
    """

    bits: Literal[4, 8] = 8
    block: Annotated[int, msgspec.Meta(ge=_FEWEST_IN_A_BLOCK)] = 64
    exclude: tuple[str, ...] = ()
    min_size: int = 1024
    keeps: ClassVar[Keeps] = "interface"

    def __post_init__(self) -> None:
        """Refuse a block that the kernel does not take."""
        if self.block & (self.block - 1):
            raise ValueError(f"block is a power of two, not {self.block}")

    def fit(self, target: Target) -> Self | Skip:
        """Skip where it was not seen that the provider unpacks weights once, or at all."""
        if target.provider != "CPUExecutionProvider":
            return Skip("quantize_weights", f"not known to pay with {target.provider}")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Replace weights and tables, name what stays in float."""
        graph = model.graph
        check_nodes(graph, self.exclude)
        tables, store = Tables(graph), Store(graph)
        for node in list(graph):
            if not (is_table(node) or weights_of(node)) or restores(node):
                continue
            where, reason = label(node), self._why_not(node, ctx.spared)
            if reason:
                yield Edit(where, reason, left=True)
            elif is_table(node):
                yield Edit(where, tables.write(node))
            else:
                pack = self.bits == 4
                yield Edit(where, self._pack(node, ctx.target) if pack else store.write(node))

    def _why_not(self, node: ir.Node, spared: frozenset[str]) -> str:
        """Return the reason to leave the weights of ``node`` in float, or an empty string."""
        if node.name in self.exclude:
            return "excluded by the recipe"
        if node.name in spared:
            return "spared by the accuracy gate"
        if is_table(node):
            return why_not_table(node, self.min_size)
        reason = why_not_stored(node, self.min_size)
        if not reason and self.bits == 4 and not is_matrix_product(node):
            return f"{node.op_type} has no kernel that reads four bits"
        return reason

    def _pack(self, node: ir.Node, target: Target) -> str:
        assert node.graph is not None
        fast = target.arch == "x86_64" or _DOT_PRODUCT in target.features
        kind = write_blocks(node.graph, node, self.block, round_input=fast)
        return f"its matrix to 4 bits in blocks of {self.block}, {kind}"
