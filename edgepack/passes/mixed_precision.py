"""Mixed precision: nodes that int8 costs too much compute in more bits; the gate says which.

Where the accuracy gate refuses int8, nodes go up the list of ``precisions`` one by one, those first
whose rounding makes most noise for the time that it saves; see ``gate/mixed.py``. As a pass this
writes the 16-bit pairs of the nodes that stopped there; wider ones are left to the steps after it.

Source: Dong et al. 2019, arXiv:1905.03696 (bits by sensitivity, layer by layer).
"""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import onnx_ir as ir

from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.placement import place
from edgepack.quantization.scales import activation_scale
from edgepack.quantization.scheme import scheme_for, wide
from edgepack.quantization.writer import Writer
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

Precision = Literal["int8", "int16", "float16", "float32"]

_EVERY: tuple[Precision, ...] = ("int8", "int16", "float16", "float32")

_WORDS = 21
"""The first opset in which QuantizeLinear takes 16-bit codes."""


class MixedPrecision(Step, frozen=True):
    """Let nodes compute in more bits than 8, as few of them as the gate of accuracy asks for.

    Attributes:
        precisions: What a node may compute in, narrowest first; those that the target has no
            kernels for are passed over.
        sensitivity: A file of noise and seconds by node, as a build writes it, that is taken
            instead of measuring; edit it to send a node up first, or never.
    """

    precisions: tuple[Precision, ...] = _EVERY
    sensitivity: str = ""
    keeps: ClassVar[Keeps] = "interface"

    def __post_init__(self) -> None:
        """Refuse a list that does not go up from int8."""
        places = [_EVERY.index(each) for each in self.precisions]
        if places != sorted(set(places)) or places[:1] != [0] or len(places) < 2:
            raise ValueError(f"precisions go up from int8, some of {', '.join(_EVERY)}")

    def fit(self, target: Target) -> Self | Skip:
        """Skip where int8 is not tried, or nothing wider pays."""
        if target.int8 is None:
            return Skip("mixed_precision", f"{target.name} has no integer kernels that pay")
        if not self.wider(target):
            asked = ", ".join(self.precisions[1:])
            return Skip("mixed_precision", f"{target.name} has no kernels for {asked}")
        return self

    def wider(self, target: Target) -> tuple[Precision, ...]:
        """Return what a node of int8 may go up to on a target that has kernels for it."""
        has = {"int16": target.int16, "float16": target.float16, "float32": True}
        return tuple(each for each in self.precisions[1:] if has[each])

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Write the Q/DQ pairs of nodes with 16-bit activations."""
        words = {name for name, kind in ctx.spared.items() if kind == "int16"}
        if not words:
            return
        reason = ""
        if model.graph.opset_imports.get("", 0) < _WORDS:
            reason = f"16-bit codes need opset {_WORDS}"
        elif ctx.measure is None:
            reason = "there are no calibration data"
        if reason:
            yield from (Edit(name, reason, left=True) for name in sorted(words))
            return
        yield from _write(model, ctx, words)


def _write(model: ir.Model, ctx: Context, words: set[str]) -> Iterator[Edit]:
    assert ctx.target.int8 is not None, "fit() skips such targets"
    assert ctx.measure is not None
    scheme = wide(scheme_for(ctx.target.int8))
    others = [str(node.name) for node in model.graph if node.name not in words]
    plan = place(model.graph, dict.fromkeys(others, "not of 16 bits"), absorb=not scheme.symmetric)
    read = {value: _before_rounding(root) for value, root in plan.scale_of.items()}
    seen = ctx.measure(model, tuple(dict.fromkeys(str(each.name) for each in read.values())))
    scales = {
        value: activation_scale((seen[str(root.name)].low, seen[str(root.name)].high), scheme)
        for value, root in read.items()
    }
    for where, what in Writer(model.graph, scheme, plan, scales).write():
        yield Edit(where, f"{what}, activations to {scheme.activations}")


def _before_rounding(value: ir.Value) -> ir.Value:
    """Return the float tensor whose codes of 8 bits were restored to ``value``, or ``value``."""
    restore = value.producer()
    codes = None if restore is None or restore.op_type != "DequantizeLinear" else restore.inputs[0]
    rounding = None if codes is None else codes.producer()
    source = None if rounding is None else rounding.inputs[0]
    return value if source is None else source
