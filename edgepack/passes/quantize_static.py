"""Static int8: a Q/DQ pair around every tensor of an integer node, types from the target.

The runtime fuses ``DequantizeLinear -> Conv -> QuantizeLinear`` into one integer kernel. Where the
target saturates, weight scales obey the pair law, so default and exact mode of the runtime agree
bit for bit without giving up a whole bit of weight.

Source: Jacob et al. 2018, arXiv:1712.05877; placement: ``quantization/placement.py``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

import onnx_ir as ir

from edgepack.base.errors import ModelError, RequestError, nearest
from edgepack.calibration.moments import Moments, too_wide
from edgepack.graph.copying import private_copy
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.bias import correct
from edgepack.quantization.choose import finder
from edgepack.quantization.placement import place
from edgepack.quantization.rows import flatten
from edgepack.quantization.scales import activation_scale
from edgepack.quantization.scheme import scheme_for
from edgepack.quantization.writer import Known, Writer
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

_MATRICES = frozenset({"MatMul", "Gemm"})
"""Rounded by GPTQ. Of convolutions kernels read K in several orders, each under the pair law."""


class QuantizeStatic(Step, frozen=True):
    """Quantize weights and activations to int8, ranges from calibration data.

    Scales that training found (``qat``) are taken as they are.

    Attributes:
        ranges: How a range follows from statistics; ``auto`` replays a few samples and takes for
            each tensor what changes the outputs of its readers least.
        exclude: Names of nodes to leave in float.
        correct_bias: Whether to take the mean error of each channel out of its bias, where that
            lowers the noise on calibration data that it was not measured on.
        rounding: Of matrices: ``gptq`` makes up for errors on the inputs that were seen.
    """

    ranges: Literal["auto", "minmax", "percentile", "entropy", "mse"] = "minmax"
    exclude: tuple[str, ...] = ()
    correct_bias: bool = False
    rounding: Literal["gptq", "nearest"] = "nearest"
    keeps: ClassVar[Keeps] = "interface"

    @property
    def replays(self) -> bool:
        """Whether the step looks at samples themselves, besides their statistics."""
        return self.correct_bias

    def fit(self, target: Target) -> Self | Skip:
        """Skip where the target has no integer kernels that pay."""
        if target.int8 is None:
            return Skip("quantize_static", f"{target.name} has no integer kernels that pay")
        return self

    def prepare(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Give linear layers, still in float, the form that integer kernels take."""
        assert ctx.target.int8 is not None, "fit() skips such targets"
        self._check(model.graph)
        if scheme_for(ctx.target.int8).integer_bias and ctx.measure is not None:
            flattened = flatten(model, self._reasons(ctx))
            yield from (Edit(where, what) for where, what in flattened)

    def _reasons(self, ctx: Context) -> dict[str, str]:
        reasons = dict.fromkeys(ctx.spared, "spared by the gate")
        return reasons | dict.fromkeys(self.exclude, "excluded by the recipe")

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Write Q/DQ pairs, integer weights and integer biases; name what stays in float."""
        yield from self.prepare(model, ctx)
        graph = model.graph
        assert ctx.target.int8 is not None, "fit() skips such targets"
        scheme, reasons = scheme_for(ctx.target.int8), self._reasons(ctx)
        plan = place(graph, reasons, absorb=not scheme.symmetric)
        if ctx.measure is None:
            why = "there are no calibration data"
            yield from (Edit(str(node.name), why, left=True) for node in plan.integer)
            return
        roots = tuple(dict.fromkeys(str(root.name) for root in plan.scale_of.values()))
        roots = tuple(name for name in roots if name not in ctx.learned.activations)
        methods = self._methods(model, roots, ctx)
        found = dict(ctx.learned.activations)
        for name, statistics in ctx.measure(model, roots).items():
            found[name] = activation_scale(finder(methods[name]).range(statistics), scheme)
        scales = {value: found[str(root.name)] for value, root in plan.scale_of.items()}
        if roots and self.ranges == "auto":
            yield Edit("graph", f"ranges by {_told(methods)}")
        left = [(str(node.name), reason) for node, reason in plan.left.items()]
        matrices = [node for node in plan.integer if node.op_type in _MATRICES]
        if self.rounding == "gptq":
            wide = [(str(node.name), too_wide(node)) for node in matrices]
            yield from (Edit("graph", f"{name} to nearest: {why}") for name, why in wide if why)
        moments = self._moments(model, matrices, ctx)
        known = Known(ctx.learned.weights, moments)
        yield from self._write(model, Writer(graph, scheme, plan, scales, known), ctx)
        yield from (Edit(where, reason, left=True) for where, reason in left)

    def _write(self, model: ir.Model, writer: Writer, ctx: Context) -> Iterator[Edit]:
        """Make the model integer, and correct its biases where that is asked for."""
        float_ = private_copy(model) if self.correct_bias and ctx.rows is not None else None
        for where, what in writer.write():
            yield Edit(where, what)
        if float_ is not None and ctx.rows is not None:
            what = correct(model, float_, ctx.rows)
            if what:
                yield Edit("graph", what)

    def _moments(
        self, model: ir.Model, matrices: Sequence[ir.Node], ctx: Context
    ) -> Mapping[str, Moments]:
        """Return the second moments of the inputs of integer matrices, where GPTQ needs them."""
        if self.rounding == "nearest" or ctx.second is None:
            return {}
        return ctx.second(model, tuple(str(node.name) for node in matrices))

    def _methods(self, model: ir.Model, roots: tuple[str, ...], ctx: Context) -> Mapping[str, str]:
        """Return the range method of each tensor."""
        if self.ranges != "auto":
            return dict.fromkeys(roots, self.ranges)
        assert ctx.choose is not None, "the build binds it where a recipe says auto"
        return ctx.choose(model, roots)

    def _check(self, graph: ir.Graph) -> None:
        names = {node.name or "" for node in graph}
        for name in self.exclude:
            if name not in names:
                raise RequestError("E-NODE", f"no node named {name!r}", hint=nearest(name, names))
        if any(node.op_type == "DequantizeLinear" for node in graph):
            raise ModelError(
                "E-QUANT-TWICE", "the model is quantized already", hint="give the float model"
            )


def _told(methods: Mapping[str, str]) -> str:
    """Return ``minmax (40 tensors), mse (3 tensors)``."""
    counted = sorted(Counter(methods.values()).items())
    return ", ".join(f"{method} ({count} tensors)" for method, count in counted)
