"""From one float graph to what could ship on a target: the whole recipe, or its lossless part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from edgepack.base.distance import largest_difference
from edgepack.base.errors import ModelError
from edgepack.calibration.stored import Record
from edgepack.data.samples import Dataset, Item
from edgepack.gate.evidence import Evidence, Kept
from edgepack.graph.copying import private_copy
from edgepack.graph.precision import precisions, whole_precision
from edgepack.graph.storage import Storage, store
from edgepack.graph.write import to_bytes
from edgepack.passes import Context, PassReport, apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.plan import Bound, Plan
from edgepack.quantization.choose import SAFE
from edgepack.quantization.learned import Learned
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.manifest import StepRecord
from edgepack.spec.signature import Signature
from edgepack.spec.step import Skip
from edgepack.spec.target import Target

_LARGEST_CHANGE = 1e-3
"""Of the largest output: what a pass that keeps values may change by rounding. Folding a batch
norm moves outputs by 1e-6 to 1e-4 of it; a wrong fold by far more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could ship.

    Attributes:
        name: What computes in it: ``int8``, ``float16``, ``float32``; spared nodes are counted.
        model: The graph.
        data: Its ONNX file.
        steps: What each step did, or why it did not run.
        left: Node -> why it was left in float.
        lossy: Whether any step changed values on purpose.
        spared: Nodes that a gate kept out of int8, and what they compute in.
        storage: What its weights take, where the recipe asks how to keep them.
        equalized: Whether it comes from the recipe behind ``gate/equalized.py``.
    """

    name: str
    model: ir.Model
    data: bytes
    steps: tuple[StepRecord, ...]
    left: dict[str, str]
    lossy: bool
    spared: Mapping[str, str] = field(default_factory=dict)
    storage: str = ""
    equalized: bool = False


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The candidates for one target, best first; the last one is float.

    Attributes:
        plan: Recipe and target.
        signature: Interface of every candidate.
        candidates: At least one.
        refold: Makes the whole recipe again with some nodes, by name, kept out of int8; see
            ``passes.Context``.
        remake: Makes all of this again from the same model by another plan for the target.
        trained: The compressed model in float, which those before it round; None without one.
        calibration: What ranges were measured on.
    """

    plan: Plan
    signature: Signature
    candidates: tuple[Candidate, ...]
    refold: Callable[[Mapping[str, str]], Candidate]
    remake: "Callable[[Plan], Rewritten]"
    trained: Candidate | None = None
    calibration: Dataset | None = None

    @property
    def rounded(self) -> Candidate:
        """The float model that the integers of lossy candidates stand for."""
        return self.trained or self.float_

    @property
    def float_(self) -> Candidate:
        """The model with nothing but lossless steps."""
        return self.candidates[-1]


@dataclass(frozen=True, slots=True)
class Smaller:
    """What the ``[[compress]]`` steps made of the model.

    Attributes:
        model: A float graph with the interface of the original.
        steps: The records of those steps.
        done: The records of the graph steps that ``model`` is through already.
        learned: Scales that were trained with its weights.
    """

    model: ir.Model
    steps: tuple[StepRecord, ...]
    done: tuple[StepRecord, ...] = ()
    learned: Learned = field(default_factory=Learned)


@dataclass(frozen=True, slots=True)
class Written:
    """What a plan makes of a graph up to its static quantization.

    Attributes:
        model: Float, through the steps before.
        written: The same after it.
        done: The records of the steps before.
    """

    model: ir.Model
    written: ir.Model
    done: tuple[StepRecord, ...]


def write_static(
    plan: Plan, model: ir.Model, signature: Signature, calibration: Dataset
) -> Written:
    """Run the graph steps of ``plan`` up to ``quantize_static``, which it holds."""
    _check_opset(model, plan.target)
    context = _context(plan, signature, calibration)
    done = list[StepRecord]()
    for bound in plan.graph:
        if isinstance(bound.step, Skip):
            done.append(StepRecord(bound.use, skipped=bound.step.reason))
            continue
        if isinstance(bound.step, QuantizeStatic):
            model = private_copy(model)
            tuple(bound.step.prepare(model, context))
            return Written(model, apply(bound.step, bound.use, model, context)[0], tuple(done))
        model, report = apply(bound.step, bound.use, model, context)
        done.append(_record(report))
    raise AssertionError("checked before any work: the recipe quantizes")


def rewrite_smaller(
    plan: Plan, base: Rewritten, smaller: Smaller, calibration: Dataset | Record | None
) -> Rewritten:
    """Put the candidates of a compressed model before the original in float.

    Accuracy and speed are then judged against the model as the user gave it, which is also what
    ships when compression costs too much.

    Args:
        plan: Steps bound to a target.
        base: The candidates of the original.
        smaller: The compressed model.
        calibration: What ranges are measured on, or what was measured.
    """
    found = rewrite(plan, smaller.model, base.signature, calibration, smaller)

    def marked(candidate: Candidate) -> Candidate:
        return replace(
            candidate,
            name=f"compressed {candidate.name}",
            steps=(*smaller.steps, *candidate.steps),
            lossy=True,
        )

    skipped = tuple(
        StepRecord(step.use, skipped=step.skipped or "the original ships") for step in smaller.steps
    )
    original = replace(base.float_, steps=(*skipped, *base.float_.steps))
    smaller_ones = tuple(map(marked, found.candidates))
    return Rewritten(
        plan,
        base.signature,
        (*smaller_ones, original),
        lambda spared: marked(found.refold(spared)),
        lambda other: rewrite_smaller(other, base, smaller, calibration),
        smaller_ones[-1],
    )


def uncompressed(plan: Plan, found: Rewritten) -> Rewritten:
    """Note with every candidate why no step of the plan compressed the module."""
    skipped = tuple(
        StepRecord(bound.use, skipped=bound.step.reason)
        for bound in plan.compress
        if isinstance(bound.step, Skip)
    )

    def noted(candidate: Candidate) -> Candidate:
        return replace(candidate, steps=(*skipped, *candidate.steps))

    return replace(
        found,
        candidates=tuple(map(noted, found.candidates)),
        refold=lambda spared: noted(found.refold(spared)),
        remake=lambda other: uncompressed(other, found.remake(other)),
    )


def rewrite(
    plan: Plan,
    model: ir.Model,
    signature: Signature,
    calibration: Dataset | Record | None,
    smaller: Smaller | None = None,
) -> Rewritten:
    """Fold the plan over the float graph, once with and once without its lossy steps.

    Args:
        plan: Steps bound to a target.
        model: The float graph as read or exported.
        signature: Its interface, with the carried state.
        calibration: What ranges are measured on, or what was measured.
        smaller: Where ``model`` comes from, if it was compressed.

    Raises:
        ModelError: The model needs a newer opset than the target's runtime has.
    """
    _check_opset(model, plan.target)
    context = _context(plan, signature, calibration)
    done: tuple[StepRecord, ...] = ()
    if smaller is not None:
        context, done = replace(context, learned=smaller.learned), smaller.done

    begun = _begun(plan, (model, done), context)

    def refold(spared: Mapping[str, str]) -> Candidate:
        return _fold(plan, begun, replace(context, spared=spared), lossless=False)

    whole = refold({})
    found = [whole]
    if whole.lossy:
        found.append(_fold(plan, (model, done), context, lossless=True))
    samples = calibration if isinstance(calibration, Dataset) else None
    return Rewritten(
        plan,
        signature,
        tuple(found),
        refold,
        lambda other: rewrite(other, model, signature, calibration, smaller),
        calibration=samples,
    )


def _context(plan: Plan, signature: Signature, calibration: Dataset | Record | None) -> Context:
    """Return what the steps of ``plan`` may know."""
    if calibration is None:
        return Context(plan.target)
    if isinstance(calibration, Record):
        return Context(plan.target, Kept(calibration).measure)
    histograms = any(getattr(bound.step, "ranges", SAFE) != SAFE for bound in plan.graph)
    seen = Evidence(plan.target, signature, calibration, histograms=histograms)
    context = Context(plan.target, seen.measure, seen.pick, seen.rows, second=seen.moments)
    return replace(context, power=seen.power)


def _check_opset(model: ir.Model, target: Target) -> None:
    opset = model.graph.opset_imports.get("", 0)
    if opset > target.max_opset:
        raise ModelError(
            "E-OPSET",
            f"the model has opset {opset}, {target.name} promises onnxruntime "
            f"{target.min_runtime}, which reads up to {target.max_opset}",
            hint=f"export it again with opset {target.max_opset} or older",
        )


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
                far = largest_difference(array, got[name])
                assert far <= _allowed(array), f"lossless steps moved {name} by {far}"


def _allowed(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    """Return what rounding may change: nothing where the output is a decision."""
    if array.dtype.kind != "f":
        return 0.0
    finite = np.abs(array[np.isfinite(array)])
    return _LARGEST_CHANGE * max(float(finite.max(initial=0)), 1e-6)


def _begun(
    plan: Plan, begun: tuple[ir.Model, tuple[StepRecord, ...]], context: Context
) -> tuple[ir.Model, tuple[StepRecord, ...]]:
    """Run the steps in front of the first lossy one; what is spared is nothing to them."""
    current, records = begun[0], list(begun[1])
    for bound in plan.graph[len(records) :]:
        if isinstance(bound.step, Skip):
            records.append(StepRecord(bound.use, skipped=bound.step.reason))
            continue
        if _is_lossy(bound):
            break
        current, report = apply(bound.step, bound.use, current, context)
        records.append(_record(report))
    return current, tuple(records)


def _fold(
    plan: Plan,
    begun: tuple[ir.Model, tuple[StepRecord, ...]],
    context: Context,
    *,
    lossless: bool,
) -> Candidate:
    """Run the steps of ``plan`` that the graph is not through yet."""
    current, records, left, lossy = begun[0], list(begun[1]), dict[str, str](), False
    for bound in plan.graph[len(records) :]:
        if isinstance(bound.step, Skip):
            records.append(StepRecord(bound.use, skipped=bound.step.reason))
            continue
        if lossless and (_is_lossy(bound) or getattr(bound.step, "prepares", False)):
            records.append(StepRecord(bound.use, skipped="float32 ships"))
            continue
        current, report = apply(bound.step, bound.use, current, context)
        records.append(_record(report))
        if _is_lossy(bound):
            _account(report, left)
        lossy = lossy or (_is_lossy(bound) and any(not edit.left for edit in report.edits))
    spared = dict(sorted(context.spared.items())) if lossy else {}
    data, told = _frozen(to_bytes(current, plan.target.max_ir), plan if lossy else None)
    return Candidate(
        _name(current, spared, lossy=lossy),
        current,
        data,
        tuple(records),
        _still_left(current, left),
        lossy,
        spared,
        told,
    )


def _frozen(data: bytes, plan: Plan | None) -> tuple[bytes, str]:
    """Keep weights in the form that a step of the plan asks for, and say what they take."""
    steps = () if plan is None else plan.graph
    asked: list[Storage] = [b.step.storage for b in steps if hasattr(b.step, "storage")]
    if not asked:
        return data, ""
    stored = store(data, asked[-1])
    return stored.data, stored.sentence


def _account(report: PassReport, left: dict[str, str]) -> None:
    """Keep the first reason for each node left in float, and none for what a later step took."""
    for edit in report.edits:
        if edit.left:
            left.setdefault(edit.where, edit.what)
        elif edit.where != "graph":
            left.pop(edit.where, None)


def _still_left(model: ir.Model, left: dict[str, str]) -> dict[str, str]:
    """Keep the reasons of nodes that do compute in float in the end."""
    final = {str(node.name): whole_precision(node) for node in model.graph}
    return {name: why for name, why in left.items() if final.get(name) in {"float32", "float16"}}


def _name(model: ir.Model, spared: Mapping[str, str], *, lossy: bool) -> str:
    """Name a candidate after the precisions in it, such as ``int8 and float16``."""
    found = {kind for counts in precisions(model).values() for kind in counts}
    narrow = sorted(found & {"int16", "int8", "int4", "float16"}, reverse=True)
    if not narrow:
        return "float32 with changed weights" if lossy else "float32"
    name = " and ".join(narrow)
    if not lossy:
        return f"{name} as given"
    left = sum(kind != "int16" for kind in spared.values())
    return f"{name} with {left} nodes in float" if left else name


def _is_lossy(bound: Bound) -> bool:
    return getattr(bound.step, "keeps", "interface") != "values"


def _record(report: PassReport) -> StepRecord:
    edits = sum(not edit.left for edit in report.edits)
    return StepRecord(report.name, dict(report.parameters), edits)
