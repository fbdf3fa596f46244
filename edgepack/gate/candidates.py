"""From one float graph to what could ship on a target: the whole recipe, or its lossless part."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import onnx_ir as ir

from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.data.samples import Dataset, Item
from edgepack.graph.precision import precisions
from edgepack.graph.write import to_bytes
from edgepack.passes import Context, PassReport, apply
from edgepack.plan import Bound, Plan
from edgepack.quantization.choose import SAFE, choose
from edgepack.quantization.scheme import scheme_for
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.manifest import StepRecord
from edgepack.spec.signature import Signature
from edgepack.spec.step import Skip

_LARGEST_CHANGE = 1e-3
"""Of the largest output: what a pass that keeps values may change by rounding. Folding a batch
norm moves outputs by 1e-6 to 1e-4 of it; a wrong fold by far more."""

_REPLAYED = 8
"""Items that range methods are compared on, at most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could ship.

    Attributes:
        name: What computes in it: ``int8``, ``float16``, ``float32``.
        model: The graph.
        data: Its ONNX file.
        steps: What each step did, or why it did not run.
        left: Node -> why it was left in float.
        lossy: Whether any step changed values on purpose.
    """

    name: str
    model: ir.Model
    data: bytes
    steps: tuple[StepRecord, ...]
    left: dict[str, str]
    lossy: bool


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The candidates for one target, best first; the last one is float.

    Attributes:
        plan: Recipe and target.
        signature: Interface of every candidate.
        candidates: At least one.
        refold: Makes the whole recipe again with some nodes, by name, left in float.
    """

    plan: Plan
    signature: Signature
    candidates: tuple[Candidate, ...]
    refold: Callable[[frozenset[str]], Candidate]

    @property
    def float_(self) -> Candidate:
        """The model with nothing but lossless steps."""
        return self.candidates[-1]


def rewrite(
    plan: Plan, model: ir.Model, signature: Signature, calibration: Dataset | None
) -> Rewritten:
    """Fold the plan over the float graph, once with and once without its lossy steps.

    Args:
        plan: Steps bound to a target.
        model: The float graph as read or exported.
        signature: Its interface, with the carried state.
        calibration: What ranges are measured on.
    """
    seen: dict[str, Statistics] = {}
    chosen: dict[str, str] = {}
    histograms = any(getattr(bound.step, "ranges", SAFE) != SAFE for bound in plan.graph)

    def measure(draft: ir.Model, tensors: tuple[str, ...], /) -> dict[str, Statistics]:
        # Lossless steps are deterministic: a name means the same tensor in every fold.
        assert calibration is not None
        new = [name for name in tensors if name not in seen]
        seen.update(collect(draft, new, calibration, signature, histograms=histograms))
        return {name: seen[name] for name in tensors}

    def pick(draft: ir.Model, tensors: tuple[str, ...], /) -> dict[str, str]:
        assert calibration is not None
        assert plan.target.int8 is not None
        new = measure(draft, tuple(name for name in tensors if name not in chosen))
        scheme = scheme_for(plan.target.int8)
        chosen.update(choose(draft, new, _spread(calibration), signature, scheme))
        return {name: chosen[name] for name in tensors}

    context = Context(plan.target, None if calibration is None else measure, pick)

    def refold(spared: frozenset[str]) -> Candidate:
        return _fold(_sparing(plan, spared), model, context, lossless=False)

    whole = refold(frozenset())
    found = [whole]
    if whole.lossy:
        found.append(_fold(plan, model, context, lossless=True))
    return Rewritten(plan, signature, tuple(found), refold)


def _spread(calibration: Dataset) -> Dataset:
    """Return a few items from all over the calibration data, so that no one kind decides."""
    count = len(calibration)
    return calibration.take(range(0, count, -(-count // _REPLAYED)))


def _sparing(plan: Plan, spared: frozenset[str]) -> Plan:
    """Return the plan with some nodes left out of every lossy step that can leave nodes out."""

    def spare(bound: Bound) -> Bound:
        if isinstance(bound.step, Skip) or not _is_lossy(bound) or not spared:
            return bound
        exclude = getattr(bound.step, "exclude", None)
        if exclude is None:
            return bound
        names = (*exclude, *sorted(spared))
        return Bound(bound.use, msgspec.structs.replace(bound.step, exclude=names))

    return replace(plan, graph=tuple(map(spare, plan.graph)))


def keeps_values(rewritten: Rewritten, original: bytes, items: list[Item]) -> None:
    """Hold the lossless passes to their promise on real samples.

    Raises:
        AssertionError: Outputs moved by more than rounding; the bug is ours.
    """
    before, after = (Session(data) for data in (original, rewritten.float_.data))
    for item in items:
        runs = zip(
            *(run_sequence(s.run, item.samples, rewritten.signature) for s in (before, after)),
            strict=True,
        )
        for want, got in runs:
            for name, array in want.items():
                if array.dtype.kind == "f":
                    scale = max(float(np.abs(array).max(initial=0)), 1e-6)
                    gap = float(np.abs(array - got[name]).max(initial=0))
                    assert gap <= _LARGEST_CHANGE * scale, f"lossless steps moved {name} by {gap}"


def _fold(plan: Plan, model: ir.Model, context: Context, *, lossless: bool) -> Candidate:
    current, records, left, lossy = model, list[StepRecord](), dict[str, str](), False
    for bound in plan.graph:
        if isinstance(bound.step, Skip):
            records.append(StepRecord(bound.use, skipped=bound.step.reason))
            continue
        if lossless and _is_lossy(bound):
            records.append(StepRecord(bound.use, skipped="the float model ships"))
            continue
        current, report = apply(bound.step, bound.use, current, context)
        records.append(_record(report))
        if _is_lossy(bound):
            left |= {edit.where: edit.what for edit in report.edits if edit.left}
        lossy = lossy or (_is_lossy(bound) and any(not edit.left for edit in report.edits))
    return Candidate(
        _name(current, lossy=lossy),
        current,
        to_bytes(current, plan.target.max_ir),
        tuple(records),
        left,
        lossy,
    )


def _name(model: ir.Model, *, lossy: bool) -> str:
    """Name a candidate after the precisions in it, such as ``int8`` or ``int8 and float16``."""
    found = {kind for counts in precisions(model).values() for kind in counts}
    narrow = sorted(found & {"int8", "float16"}, reverse=True)
    return " and ".join(narrow) if lossy and narrow else "float32"


def _is_lossy(bound: Bound) -> bool:
    return getattr(bound.step, "keeps", "interface") != "values"


def _record(report: PassReport) -> StepRecord:
    edits = sum(not edit.left for edit in report.edits)
    return StepRecord(report.name, dict(report.parameters), edits)
