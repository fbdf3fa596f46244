"""Which range method suits which tensor: the one that changes its readers' outputs least.

A histogram cannot tell: an error in a channel that the next layer weighs little costs little. So a
few samples are replayed, each tensor is rounded within each candidate range, and the error is taken
where it arrives, behind the convolution or matrix product that reads the tensor.

The range that loses nothing stays unless another one is clearly better on the samples replayed and
no worse on the histogram of all samples. Where the net normalizes layers it always stays: there
what is clipped is what the net speaks through, and a local error does not show it.

Source: Nagel et al. 2021, arXiv:2106.08295, section 3.4 (range setting is best judged on outputs).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base import registry
from edgepack.base.affine import dequantize, quantize
from edgepack.calibration.rounding import squared_error
from edgepack.calibration.statistics import Statistics
from edgepack.calibration.watch import watch
from edgepack.data.samples import Item
from edgepack.graph.constants import constant
from edgepack.graph.kernels import CARRIERS, WEIGHTED
from edgepack.graph.write import to_bytes
from edgepack.quantization.scales import ActivationScale, activation_scale
from edgepack.quantization.scheme import Scheme
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.signature import Signature

Real = npt.NDArray[np.float32]

SAFE = "minmax"

_BETTER = 0.9
"""Of the error of the safe range: what another must stay below, lest chance decide."""

_RUNS = 8
"""Runs that are replayed, at most."""

_NORMS = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
    | {"SkipLayerNormalization", "GroupNormalization", "InstanceNormalization"}
)


class Finder(Protocol):
    """A file of ``calibration/ranges/``."""

    def range(self, seen: Statistics) -> tuple[float, float]:
        """Return the range to quantize, in the tensor's own unit."""
        ...


@cache
def finder(method: str) -> Finder:
    """Return the range method called ``method``."""
    found: Finder = registry.find("calibration.ranges", method)()
    return found


def choose(
    model: ir.Model,
    seen: Mapping[str, Statistics],
    items: Iterable[Item],
    signature: Signature,
    scheme: Scheme,
) -> dict[str, str]:
    """Return a method for each tensor of ``seen``; the same input gives the same answer.

    Args:
        model: Float model; left as it is.
        seen: Statistics of its tensors, with histograms.
        items: Calibration data, of which the first few runs are replayed.
        signature: Interface of ``model`` with its carried state.
        scheme: How ranges become scales.
    """
    chosen = dict.fromkeys(seen, SAFE)
    if _normalizes(model.graph):
        return chosen
    rivals = {name: _candidates(statistics, scheme) for name, statistics in seen.items()}
    rivals = {name: scales for name, scales in rivals.items() if len(scales) > 1}
    readers = {name: list(_readers(model, name)) for name in rivals}
    errors = {name: dict.fromkeys(scales, 0.0) for name, scales in rivals.items()}
    for values in _replayed(model, readers, items, signature):
        for name, scales in rivals.items():
            for reader in readers[name]:
                for method, error in reader.errors(values, scales).items():
                    errors[name][method] += error
    for name, costs in errors.items():
        best = min(costs, key=lambda method: (costs[method], method != SAFE))
        if costs[best] < _BETTER * costs[SAFE]:
            chosen[name] = best
    return chosen


def _candidates(seen: Statistics, scheme: Scheme) -> dict[str, ActivationScale]:
    """Return the scale of each method that is no worse than the safe one over all samples."""
    ranges = {method: finder(method).range(seen) for method in registry.names("calibration.ranges")}
    bins = seen.histogram.bins()
    lows = np.minimum([low for low, _ in ranges.values()], 0.0)
    highs = np.maximum([high for _, high in ranges.values()], 0.0)
    costs = dict(zip(ranges, squared_error(bins, lows, highs), strict=True))
    return {
        method: activation_scale(bounds, scheme)
        for method, bounds in ranges.items()
        if costs[method] <= costs[SAFE]
    }


@dataclass(frozen=True, slots=True)
class _Reader:
    """What one node makes of a tensor, without its bias; without a session, the tensor itself."""

    tensor: str
    session: Session | None = None

    def errors(
        self, values: Mapping[str, Real], scales: Mapping[str, ActivationScale]
    ) -> dict[str, float]:
        """Return, per method, noise over signal where the node's output arrives."""
        value = values[self.tensor]
        signal = max(self._power(value), float(np.finfo(np.float32).tiny))
        return {
            method: self._power(_rounded(value, scale) - value) / signal
            for method, scale in scales.items()
        }

    def _power(self, value: Real) -> float:
        out = value if self.session is None else self.session.run({"x": value})["y"]
        return float(np.square(out, dtype=np.float64).sum())


def _rounded(value: Real, scale: ActivationScale) -> Real:
    codes = quantize(value, scale.scale, scale.zero_point)
    return dequantize(codes, scale.scale, scale.zero_point)


def _readers(model: ir.Model, name: str) -> Iterator[_Reader]:
    """Find what multiplies a tensor, through nodes that only move it; else it stands for itself."""
    values = {v.name: v for node in model.graph for v in node.outputs}
    values |= {v.name: v for v in model.graph.inputs}
    todo, found = [values[name]], False
    while todo:
        value = todo.pop()
        for user, index in value.uses():
            if user.op_type in CARRIERS and index == 0:
                todo.append(user.outputs[0])
            elif user.op_type in WEIGHTED and index == 0 and constant(user.inputs[1]) is not None:
                found = True
                yield _Reader(str(value.name), _alone(user, model))
    if not found:
        yield _Reader(name)


def _alone(node: ir.Node, model: ir.Model) -> Session:
    """Open a model of this node alone, from ``x`` to ``y``: it is linear, so errors go through."""
    weight, source = constant(node.inputs[1]), node.inputs[0]
    assert weight is not None
    assert source is not None
    rank = None if source.shape is None else ir.Shape([None] * len(source.shape))
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=rank)
    w = ir.Value(
        name="w",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape(weight.shape),
        const_value=ir.tensor(weight, name="w"),
    )
    copy = ir.node(node.op_type, [x, w], {k: v.value for k, v in node.attributes.items()})
    y = copy.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    opsets = dict(model.graph.opset_imports)
    graph = ir.Graph([x], [y], nodes=[copy], initializers=[w], opset_imports=opsets)
    return Session(to_bytes(ir.Model(graph, ir_version=model.ir_version)))


def _replayed(
    model: ir.Model,
    readers: Mapping[str, list[_Reader]],
    items: Iterable[Item],
    signature: Signature,
) -> Iterator[dict[str, Real]]:
    """Yield the tensors that readers read, run by run."""
    wanted = list(dict.fromkeys(each.tensor for found in readers.values() for each in found))
    if not wanted:
        return
    watched = watch(model, wanted)
    runs = 0
    for item in items:
        few = item.samples[: _RUNS - runs]
        for outputs in run_sequence(watched.run, few, signature):
            yield watched.tensors(outputs)
        runs += len(few)
        if runs >= _RUNS:
            return


def _normalizes(graph: ir.Graph) -> bool:
    """Whether the net normalizes layers, in one node or spelled out as a mean, a square, a root."""
    found = {node.op_type for node in graph.all_nodes()}
    return bool(found & _NORMS) or {"ReduceMean", "Sqrt"} <= found
