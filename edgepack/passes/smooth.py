"""Make channels of a product's input more alike, and its weights less: SmoothQuant.

A factor per channel goes from the input into the rows of the weight. It is a power of two, so that
nothing is rounded and outputs stay the same. The input takes it in the gain and bias of the layer
norm that makes it, where nobody else reads that; else in a Mul. The exponent, or how many of the
largest channels are only clipped to the next, is what rounds a few calibration samples best.

Source: Xiao et al. 2023, arXiv:2211.10438, eq. (4): ``s = max|x|^a / max|w|^(1 - a)``.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.chains import rows_first
from edgepack.graph.constants import add_constant, constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.dynamic import dynamic_scheme
from edgepack.quantization.local_error import local_error, matrix
from edgepack.quantization.scheme import Scheme
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

Real = npt.NDArray[np.float32]

_ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8)
_CLIPPED = (2, 4, 8, 16, 48)
_TINY = 1e-6
"""Largest value below which a channel says nothing."""


class Smooth(Step, frozen=True):
    """Move range from inputs to weights where that lowers the rounding error of the products.

    Attributes:
        least: Fraction of the squared error that must go; a Mul is not free.
        min_size: Weights with fewer entries are left alone, as they stay in float anyway.
    """

    least: float = 0.25
    min_size: int = 16384
    keeps: ClassVar[Keeps] = "values"
    prepares: ClassVar[bool] = True
    replays: ClassVar[bool] = True

    def fit(self, target: Target) -> Self | Skip:
        """Skip where nothing will be rounded."""
        if target.int8 is None or target.provider != "CPUExecutionProvider":
            return Skip("smooth", f"{target.name} has no integers with ranges at run time")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Scale each input, once for all products that read it."""
        assert ctx.target.int8 is not None, "fit() skips such targets"
        scheme, graph = dynamic_scheme(ctx.target.int8), model.graph
        sites = self._sites(graph)
        if ctx.rows is None or not sites:
            return
        seen = ctx.rows(model, tuple(str(source.name) for source in sites))
        for source, readers in sites.items():
            runs = seen[str(source.name)]
            weights = [weight for node in readers if (weight := matrix(node)) is not None]
            factors, told = _best(runs, np.concatenate(weights, axis=1), scheme, self.least)
            if factors is None:
                continue
            where = _scale(graph, source, readers, factors)
            yield Edit(str(readers[0].name), f"input smoothed by {told} in {where}")

    def _sites(self, graph: ir.Graph) -> dict[ir.Value, list[ir.Node]]:
        found: dict[ir.Value, list[ir.Node]] = {}
        for node in graph:
            weight = matrix(node)
            source = None if weight is None else node.inputs[0]
            maker = None if source is None else source.producer()
            if weight is None or source is None or maker is None or weight.size < self.min_size:
                continue
            if not str(maker.name).endswith((".smooth", ".near")):
                found.setdefault(source, []).append(node)
        return found


def _best(
    runs: Sequence[Real], weight: Real, scheme: Scheme, least: float
) -> tuple[Real | None, str]:
    """Return the factors of the least error, None where none is clearly better."""
    plain = local_error(runs, weight, scheme)
    best, error, told = None, plain * (1 - least), ""
    for name, factors in _candidates(runs, weight):
        tried = local_error([run / factors for run in runs], weight * factors[:, None], scheme)
        if tried < error:
            best, error, told = factors, tried, name
    gained = 10 * np.log10(plain / max(error, 1e-30)) if best is not None else 0.0
    return best, f"{told}, {gained:.1f} dB gained,"


def _candidates(runs: Sequence[Real], weight: Real) -> Iterator[tuple[str, Real]]:
    inputs = np.max([np.abs(run).max(axis=0) for run in runs], axis=0).astype(np.float64) + _TINY
    rows = np.abs(weight).max(axis=1).astype(np.float64) + _TINY
    for alpha in _ALPHAS:
        factors = inputs**alpha / rows ** (1 - alpha)
        yield f"alpha {alpha:g}", _power(factors / np.exp(np.log(factors).mean()))
    ordered = np.sort(inputs)
    for count in (count for count in _CLIPPED if count < len(ordered)):
        factors = np.maximum(1, inputs / ordered[-1 - count])
        yield f"clipping {count} channels", _power(factors)


def _power(factors: npt.NDArray[np.float64]) -> Real:
    return np.asarray(np.exp2(np.rint(np.clip(np.log2(factors), -24, 24))), np.float32)


def _scale(graph: ir.Graph, source: ir.Value, readers: list[ir.Node], factors: Real) -> str:
    """Divide what the readers read, multiply the rows of their weights; say where it went."""
    for node in readers:
        weight = matrix(node)
        assert weight is not None
        rows = weight * factors[:, None]
        stored = rows.T.copy() if rows_first(node) else rows
        node.replace_input_with(1, add_constant(graph, f"{node.name}.smooth_weight", stored))
    norm = source.producer()
    assert norm is not None
    if _can_take(norm, source, readers, len(factors)):
        for index in range(1, len(norm.inputs)):
            old = constant(norm.inputs[index])
            if old is not None:
                part = add_constant(graph, f"{norm.name}.smooth.{index}", old / factors)
                norm.replace_input_with(index, part)
        return f"the gain of {norm.name}"
    scale = add_constant(graph, f"{source.name}.smooth.factors", 1 / factors)
    mul = ir.node("Mul", [source, scale], name=f"{source.name}.smooth")
    mul.outputs[0].type, mul.outputs[0].shape = source.type, source.shape
    graph.insert_before(readers[0], [mul])
    for node in readers:
        node.replace_input_with(0, mul.outputs[0])
    return "a Mul"


def _can_take(norm: ir.Node, source: ir.Value, readers: list[ir.Node], channels: int) -> bool:
    """Whether a layer norm of the last axis can take the factors, with nobody else to see it."""
    if norm.op_type != "LayerNormalization" or source.is_graph_output():
        return False
    parts = [constant(value) for value in norm.inputs[1:] if value is not None]
    whole = all(part is not None and part.shape == (channels,) for part in parts)
    return whole and {user for user, _ in source.uses()} <= set(readers)
