"""Second moments of the inputs of weights, over sampled rows.

The sum of ``x x^T`` serves GPTQ; its diagonal alone, the mean squares, serves pruning.
Unlike ``statistics`` they are sums of floats: they are added in the order of the samples, so the
same data in the same order give the same bits on one machine and build, and shards do not merge.
They cost more than a run of the model does, so only steps that need them ask for them.

Source: Frantar et al. 2022, arXiv:2210.17323, section 3 (the Hessian of the layer's squared error);
LeCun et al. 1989, "Optimal Brain Damage", section 2.1 (its diagonal).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base.errors import DataError
from edgepack.calibration.operands import Reading, reading, rows, why_not_rows
from edgepack.calibration.phase import phase
from edgepack.calibration.watch import watch
from edgepack.data.samples import Item
from edgepack.graph.constants import attribute, constant
from edgepack.runtime.carry import Outputs, run_sequence
from edgepack.spec.signature import Sample, Signature

Real = npt.NDArray[np.float32]

ROWS = 64
"""Rows of one run that are taken: neighbours in a picture or sentence tell much the same."""

WIDEST = 1 << 13
"""K up to which ``x x^T`` is summed, 512 MiB of float64; GPTQ factors copies of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What the rows of one input held.

    Attributes:
        rows: How many rows were added.
        total: Sum of ``x x^T``, float64 of shape ``(groups, K, K)``, or of ``x * x``,
            ``(groups, K)``.
    """

    rows: int
    total: npt.NDArray[np.float64]


def second_moments(
    model: ir.Model, nodes: Sequence[str], items: Iterable[Item], signature: Signature
) -> dict[str, Moments]:
    """Run ``items`` through ``model`` and return the moments of the input of each of ``nodes``.

    Args:
        model: Float model; left as it is.
        nodes: Names of nodes of the main graph for which ``why_not_rows`` has no reason.
        items: Calibration data; read once, in order.
        signature: Interface of ``model`` with its carried state.

    Returns:
        By node; nodes that read one tensor in one way share their moments, K * K * 8 bytes each.
        Those that are ``too_wide`` are left out.

    Raises:
        DataError: There are no items, or an input is not finite.
    """
    wide = {str(node.name) for node in model.graph if too_wide(node)}
    narrow = [name for name in nodes if name not in wide]
    return _summed(model, narrow, items, signature, _outer)


def too_wide(node: ir.Node) -> str:
    """Return why the second moments of the input of a node are not taken, or an empty string."""
    if why_not_rows(node):
        return ""  # of such nobody asks
    weight = constant(node.inputs[1])
    assert weight is not None
    outputs = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    inputs = weight.size // max(1, weight.shape[outputs])
    return f"its {inputs:,} inputs are too many for GPTQ" if inputs > WIDEST else ""


def mean_squares(
    model: ir.Model, nodes: Sequence[str], items: Iterable[Item], signature: Signature
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean of ``x * x`` over rows, ``(groups, K)``, by node; as ``second_moments``."""
    sums = _summed(model, nodes, items, signature, _square)
    return {name: each.total / each.rows for name, each in sums.items()}


def _summed(
    model: ir.Model,
    nodes: Sequence[str],
    items: Iterable[Item],
    signature: Signature,
    product: Callable[[Real], Real],
) -> dict[str, Moments]:
    """Sum what ``product`` makes of the rows ``(groups, rows, K)`` that each node reads."""
    wanted = dict.fromkeys(nodes)
    asked = {
        str(node.name): (str(node.inputs[0].name), reading(node))
        for node in model.graph
        if str(node.name) in wanted and node.inputs[0] is not None
    }
    sums: dict[tuple[str, Reading], Moments] = {}
    tensors = dict.fromkeys(tensor for tensor, _ in asked.values())
    for start, held in _runs(model, list(tensors), items, signature):
        for key in dict.fromkeys(asked.values()):
            taken = rows(held[key[0]], key[1], ROWS, start)
            if not np.isfinite(taken).all():
                raise DataError("E-CAL-RANGE", f"tensor {key[0]!r} is not finite in calibration")
            sums[key] = _add(sums.get(key), taken.shape[1], product(taken))
    if asked and not sums:
        raise DataError("E-CAL-EMPTY", "no calibration sample to measure second moments on")
    return {name: sums[key] for name, key in asked.items()}


def _runs(
    model: ir.Model, tensors: Sequence[str], items: Iterable[Item], signature: Signature
) -> Iterator[tuple[int, dict[str, Real]]]:
    """Yield, run by run, where sampling starts and what the tensors held."""
    if not tensors:
        return
    watched = watch(model, tensors)
    for item in items:
        started: list[int] = []

        def run(sample: Sample, started: list[int] = started) -> Outputs:
            started.append(phase(sample))
            return watched.run(sample)

        for start, outputs in zip(
            started, run_sequence(run, item.samples, signature), strict=False
        ):
            yield start, watched.tensors(outputs)


def _outer(taken: Real) -> Real:
    return taken.transpose(0, 2, 1) @ taken


def _square(taken: Real) -> Real:
    summed: Real = np.square(taken).sum(axis=1)
    return summed


def _add(before: Moments | None, count: int, product: Real) -> Moments:
    """Add what one run of ``count`` rows gave; its sums fit float32, the sum over runs does not."""
    if before is None:
        return Moments(count, product.astype(np.float64))
    np.add(
        before.total, product, out=before.total
    )  # in place: a second array of this size would be the peak
    return Moments(before.rows + count, before.total)
