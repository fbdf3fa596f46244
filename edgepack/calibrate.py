"""The story of calibration alone: rewrite as a build would, measure once, keep the statistics."""

from collections.abc import Callable

import onnx_ir as ir

from edgepack.base import registry
from edgepack.base.errors import DataError, ModelError
from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.calibration.stored import Record, key_of
from edgepack.data.lint import inspect
from edgepack.data.samples import open_dataset
from edgepack.graph.write import to_bytes
from edgepack.intake import quantized
from edgepack.intake import source as intake_source
from edgepack.intake.check import check
from edgepack.intake.request import Reference, Request
from edgepack.passes import Context, apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.plan import Plan
from edgepack.quantization.choose import finder
from edgepack.quantization.placement import place
from edgepack.quantization.rows import flatten
from edgepack.quantization.scheme import scheme_for
from edgepack.spec.step import Skip


def calibrate(
    model: str | None,
    calib: Reference | None,
    *,
    target: str = "x86_64",
    recipe: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure every tensor that static quantization could need, on all calibration samples.

    Args:
        model: As for ``build``.
        calib: Calibration data.
        target: Whose plan is followed; lossless steps rarely depend on it.
        recipe: The lossless steps before its first lossy one are run.
        tell: Called with each sentence of progress.

    Raises:
        EdgepackError: As in ``build``; nothing is written here.
    """
    # force: nothing is written where a build would write
    job = check(Request(model=model, targets=(target,), recipe=recipe, calib=calib, force=True))
    if job.request.calib is None:
        raise DataError("E-CAL-EMPTY", "no calibration data", hint="add --calib")
    source = intake_source.load(job)
    quantized.refuse(source, model or "")
    data = open_dataset(job.request.calib, source.signature, labelled=False, folder=job.folder)
    seen = inspect(data, "calibration")
    for note in (*source.notes, *seen.notes):
        tell(note)
    graph = _lossless(job.plans[0], source.model)
    _flatten(job.plans[0], graph)
    tensors = quantizable(graph)
    if not tensors:
        raise ModelError("E-STATS", "nothing in this model can be quantized statically")
    tell(f"measuring {len(tensors)} tensors on {seen.samples} samples")
    measured = collect(graph, tensors, data, source.signature)
    return Record(key_of(to_bytes(graph)), tuple(sorted(seen.digests)), measured)


def ranges(statistics: Statistics) -> dict[str, tuple[float, float]]:
    """Return the range that each method would take."""
    return {
        method: finder(method).range(statistics) for method in registry.names("calibration.ranges")
    }


def _lossless(plan: Plan, model: ir.Model) -> ir.Model:
    for bound in plan.graph:
        if isinstance(bound.step, Skip):
            continue
        if getattr(bound.step, "keeps", "interface") != "values":
            break
        model, _ = apply(bound.step, bound.use, model, Context(plan.target))
    return model


def _flatten(plan: Plan, graph: ir.Model) -> None:
    """Bring the graph into the form in which static quantization will measure it."""
    steps = [b.step for b in plan.graph if isinstance(b.step, QuantizeStatic)]
    int8 = plan.target.int8
    if int8 is None or scheme_for(int8).integer_bias:
        flatten(graph, steps[0].exclude if steps else ())


def quantizable(model: ir.Model) -> tuple[str, ...]:
    """Return what any scheme would put a Q/DQ pair on, in the order of the graph."""
    plans = [place(model.graph, {}, absorb=absorb) for absorb in (True, False)]
    roots = (root for plan in plans for root in plan.scale_of.values())
    return tuple(dict.fromkeys(str(root.name) for root in roots))
