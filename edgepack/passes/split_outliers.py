"""Keep the few input channels that spoil a range in a small float product of their own.

One channel forty times larger than the others leaves the others two or three codes. Its products
are taken in float, ``x w = (x m) w' + x[far] w[far]`` with ``m`` and ``w'`` zero at the far
channels, and the sum is what it was. Where it pays is tried on a few calibration samples.

Source: Dettmers et al. 2022, arXiv:2208.07339, section 3.2 (mixed-precision decomposition).
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepack.graph.chains import rows_first
from edgepack.graph.constants import add_constant, constant
from edgepack.graph.linear import product_and_bias
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.dynamic import dynamic_scheme
from edgepack.quantization.local_error import local_error, matrix
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

Real = npt.NDArray[np.float32]
Channels = npt.NDArray[np.intp]


class SplitOutliers(Step, frozen=True):
    """Take the largest channels of a product apart where that lowers its rounding error.

    Attributes:
        units: Channels taken apart of each product.
        least: Fraction of the squared error that must go; a float product is not free.
        min_size: Weights with fewer entries are left alone, as they stay in float anyway.
    """

    units: int = 4
    least: float = 0.5
    min_size: int = 131072
    keeps: ClassVar[Keeps] = "values"
    prepares: ClassVar[bool] = True
    replays: ClassVar[bool] = True

    def fit(self, target: Target) -> Self | Skip:
        """Skip where nothing will be rounded."""
        if target.int8 is None or target.provider != "CPUExecutionProvider":
            return Skip("split_outliers", f"{target.name} has no integers with ranges at run time")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Split each product whose error falls by enough."""
        assert ctx.target.int8 is not None, "fit() skips such targets"
        scheme, graph = dynamic_scheme(ctx.target.int8), model.graph
        sites = [node for node in graph if self._may_gain(node)]
        if ctx.rows is None or not sites:
            return
        inputs: dict[ir.Value, list[ir.Node]] = {}
        for node in sites:
            assert node.inputs[0] is not None
            inputs.setdefault(node.inputs[0], []).append(node)
        seen = ctx.rows(model, tuple(str(source.name) for source in inputs))
        for source, readers in inputs.items():
            runs = seen[str(source.name)]
            weight = np.concatenate([matrix(node) for node in readers], axis=1)
            far = _largest(runs, self.units)
            kept = np.ones(len(weight), np.float32)
            kept[far] = 0
            before = local_error(runs, weight, scheme)
            after = local_error([run * kept for run in runs], weight * kept[:, None], scheme)
            if after <= (1 - self.least) * before and after < before:
                parts = _Parts(graph, source, readers[0], far, kept)
                gained = 10 * np.log10(before / max(after, 1e-30))
                for node in readers:
                    parts.split(node)
                    yield Edit(
                        str(node.name), f"{len(far)} channels in float: {gained:.1f} dB gained"
                    )
        RemoveUnusedNodesPass()(model)

    def _may_gain(self, node: ir.Node) -> bool:
        weight, source = matrix(node), node.inputs[0] if node.inputs else None
        if weight is None or source is None or source.producer() is None:
            return False
        split = source.producer()
        done = split is not None and str(split.name).endswith(".near")
        return weight.size >= self.min_size and len(weight) > 4 * self.units and not done


def _largest(runs: Sequence[Real], count: int) -> Channels:
    """Return the channels of largest magnitude, in order."""
    peaks = np.max([np.abs(run).max(axis=0) for run in runs], axis=0)
    return np.sort(np.argsort(-peaks, kind="stable")[:count])


class _Parts:
    """The near and the far channels of one tensor, for all products that read it."""

    def __init__(
        self, graph: ir.Graph, source: ir.Value, first: ir.Node, far: Channels, kept: Real
    ) -> None:
        self._graph, self._far, self._kept = graph, far, kept
        whole, factors = _factors(source, len(kept))
        self._gains = factors[far]
        mask = add_constant(graph, f"{source.name}.kept", kept * factors)
        index = add_constant(graph, f"{source.name}.units", far.astype(np.int64))
        self._near = ir.node("Mul", [whole, mask], name=f"{source.name}.near")
        self._taken = ir.node("Gather", [whole, index], {"axis": -1}, name=f"{source.name}.units")
        for made in (self._near, self._taken):
            made.outputs[0].type = source.type
        self._near.outputs[0].shape = source.shape
        if source.shape is not None:
            self._taken.outputs[0].shape = ir.Shape([*source.shape[:-1], len(far)])
        graph.insert_before(first, [self._near, self._taken])

    def split(self, node: ir.Node) -> None:
        """Write the two products and their sum, behind the bias: the runtime joins that to one."""
        weight, name, end = matrix(node), str(node.name), _with_bias(node)
        assert weight is not None
        old = end.outputs[0]
        rest = weight * self._kept[:, None]
        stored = add_constant(
            self._graph, f"{name}.rest", rest.T.copy() if rows_first(node) else rest
        )
        far = weight[self._far] * self._gains[:, None]
        small = add_constant(self._graph, f"{name}.outliers", far)
        extra = ir.node("MatMul", [self._taken.outputs[0], small], name=f"{name}.far")
        node.replace_input_with(0, self._near.outputs[0])
        node.replace_input_with(1, stored)
        users = [(user, index) for user, index in old.uses()]
        total = ir.node("Add", [old, extra.outputs[0]], name=f"{name}.total")
        for made in (extra, total):
            made.outputs[0].type, made.outputs[0].shape = old.type, old.shape
        self._graph.insert_after(end, [extra, total])
        _hand_over(self._graph, users, old, total.outputs[0])


def _factors(source: ir.Value, channels: int) -> tuple[ir.Value, Real]:
    """Return what a Mul by one constant per channel makes ``source`` of, and that constant.

    The mask goes into that Mul, whose own values only other readers then need.
    """
    mul = source.producer()
    if mul is not None and mul.op_type == "Mul":
        for value, other in (mul.inputs, reversed(mul.inputs)):
            factors = constant(other)
            if factors is None or factors.shape != (channels,) or value is None:
                continue
            if value.shape is not None and value.shape[-1] == channels:  # else it is broadcast
                return value, np.asarray(factors, np.float32)
    return source, np.ones(channels, np.float32)


def _with_bias(node: ir.Node) -> ir.Node:
    """Return the Add of a constant vector that alone reads a product, else the product."""
    uses = list(node.outputs[0].uses())
    found = product_and_bias(uses[0][0]) if len(uses) == 1 and uses[0][0].op_type == "Add" else None
    return uses[0][0] if found is not None else node


def _hand_over(
    graph: ir.Graph, users: Sequence[tuple[ir.Node, int]], old: ir.Value, new: ir.Value
) -> None:
    """Let what read ``old`` read ``new``, under the name of ``old`` where that is an output."""
    for user, index in users:
        user.replace_input_with(index, new)
    if old.is_graph_output():
        name, old.name = old.name, f"{old.name}.near"
        graph.outputs[list(graph.outputs).index(old)] = new
        new.name = name
