"""Weight-only quantization: weights in 8 or 4 bits, every product in float; no data needed.

At 8 bits weights are stored in int8 and unpacked when the model is loaded: float speed and float
memory, a quarter of the file. At 4 bits matrices become MatMulNBits, which reads packed blocks:
smaller in memory too. (At 8 bits that kernel needs a runtime newer than 1.20.)
Embedding tables get int8 rows either way. At 4 bits and with calibration data matrices are rounded
by GPTQ, which makes up for errors on the inputs that were seen; else to nearest, with scales of
least error.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

import msgspec
import onnx_ir as ir

from edgepack.calibration.moments import Moments, too_wide
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
        rounding: At 4 bits, ``gptq`` (to nearest where there are no calibration data) or
            ``nearest``. At 8 bits rounding is to nearest: there it costs 0.0004 of a cosine.
        exclude: Names of nodes whose weights stay in float.
        min_size: Weights with fewer entries stay in float.
    """

    bits: Literal[4, 8] = 8
    block: Annotated[int, msgspec.Meta(ge=_FEWEST_IN_A_BLOCK)] = 64
    rounding: Literal["gptq", "nearest"] = "gptq"
    exclude: tuple[str, ...] = ()
    min_size: int = 1024
    keeps: ClassVar[Keeps] = "interface"

    def __post_init__(self) -> None:
        """Refuse a block that the kernel does not take."""
        if self.block & (self.block - 1):
            raise ValueError(f"block is a power of two, not {self.block}")

    @property
    def replays(self) -> bool:
        """Whether the step looks at samples themselves."""
        return self.bits == 4 and self.rounding == "gptq"

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
        moments = self._moments(model, ctx)
        for node in list(graph):
            if not _holds_float(node):
                continue
            where, reason = label(node), self._why_not(node, ctx.spared)
            if reason:
                yield Edit(where, reason, left=True)
            elif is_table(node):
                yield Edit(where, tables.write(node))
            elif self.bits == 4:
                yield Edit(where, self._pack(node, ctx.target, moments.get(where)))
            else:
                yield Edit(where, store.write(node))

    def _moments(self, model: ir.Model, ctx: Context) -> Mapping[str, Moments]:
        """Return the second moments of the inputs of matrices, where GPTQ needs them."""
        if self.bits == 8 or self.rounding == "nearest" or ctx.second is None:
            return {}
        wanted = [
            label(node)
            for node in model.graph
            if _holds_float(node) and not is_table(node) and not self._why_not(node, ctx.spared)
        ]
        return ctx.second(model, tuple(wanted))

    def _why_not(self, node: ir.Node, spared: Collection[str]) -> str:
        """Return the reason to leave the weights of ``node`` in float, or an empty string."""
        if node.name in self.exclude:
            return "excluded by the recipe"
        if node.name in spared:
            return "spared by the gate"
        if is_table(node):
            return why_not_table(node, self.min_size)
        reason = why_not_stored(node, self.min_size)
        if not reason and self.bits == 4 and not is_matrix_product(node):
            return f"{node.op_type} has no kernel that reads four bits"
        return reason

    def _pack(self, node: ir.Node, target: Target, moments: Moments | None) -> str:
        fast = target.arch == "x86_64" or _DOT_PRODUCT in target.features
        total = None if moments is None else moments.total[0]
        how = "by GPTQ" if moments is not None else "to nearest"
        if moments is None and self.rounding == "gptq":
            how += f": {wide}" if (wide := too_wide(node)) else " for want of calibration data"
        kind = write_blocks(node, self.block, total, round_input=fast)
        return f"its matrix to 4 bits in blocks of {self.block}, {kind}, {how}"


def _holds_float(node: ir.Node) -> bool:
    """Whether a node reads a table or weights that are not codes already."""
    return bool(is_table(node) or weights_of(node)) and not restores(node)
