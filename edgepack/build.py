"""The story of a build: plan -> compress -> export -> rewrite -> gate -> tune -> pack."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.base.errors import DataError, EdgepackError, ModelError, RequestError
from edgepack.base.files import sha256, write_all
from edgepack.bench.price import Price
from edgepack.bundle.golden import Golden
from edgepack.bundle.rules import OPERATORS
from edgepack.data.made_up import made_up
from edgepack.data.samples import Dataset
from edgepack.devices import open_device, require_fit
from edgepack.gate.candidates import (
    Rewritten,
    keeps_values,
    rewrite,
    rewrite_smaller,
    uncompressed,
)
from edgepack.gate.choose import Chooser, Chosen, Items, mode
from edgepack.gate.execution import Artifact, Observed, disagreement, execute
from edgepack.gate.golden import First
from edgepack.gate.golden import record as record_golden
from edgepack.gate.mixed import step_of
from edgepack.gate.place import Place
from edgepack.gate.place import find as find_place
from edgepack.gate.required import required_operators
from edgepack.gate.terms import Terms
from edgepack.gate.tolerance import one_code, tolerances
from edgepack.gate.tuned import Settled, Tuned, tune
from edgepack.graph.write import to_bytes
from edgepack.intake import data as intake_data
from edgepack.intake import labels as intake_labels
from edgepack.intake import quantized as intake_quantized
from edgepack.intake import raw as intake_raw
from edgepack.intake import source as intake_source
from edgepack.intake.check import check, report_path
from edgepack.intake.clock import at_hand as clock_at_hand
from edgepack.intake.compressed import Compressed, Compressor, helps_only
from edgepack.intake.data import Data
from edgepack.intake.raw import Declared
from edgepack.intake.request import Job, Request
from edgepack.intake.source import Source
from edgepack.plan import Plan
from edgepack.report import assemble, record
from edgepack.report.built import Built
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.manifest import runtime_of
from edgepack.spec.signature import Signature

Tell = Callable[[str], None]
"""Takes each sentence of progress."""


def build(model: str | None = None, *, target: str, **options: Any) -> Built:
    """Compress, export, quantize, verify and bundle a model for one target.

    Args:
        model: ``model.onnx``, ``program.pt2``, ``file.py:name``, ``pkg.module:name``; None for the
            ``edgepack.toml`` of the current folder.
        target: Name of a target.
        **options: Fields of ``Request`` by name: ``calib``, a REF or an iterable of
            ``{input: array}``; ``evaluation``, a REF or an iterable of ``({input: array}, label)``;
            ``max_drop``, ``out``, ``force`` and the others.

    Raises:
        EdgepackError: The build cannot be done; nothing was written.
    """
    request = Request.of({"model": model, "targets": (target,), **options})
    for outcome in run(request):
        if isinstance(outcome, EdgepackError):
            raise outcome
        return outcome
    raise AssertionError("one target gives one outcome")


def run(request: Request, tell: Tell = lambda _: None) -> Iterator[Built | EdgepackError]:
    """Carry out a request, target by target; each bundle lands whole or not at all.

    Args:
        request: What was asked for.
        tell: Called with each sentence of progress.

    Yields:
        The bundle of each target, or the error that kept it from being built.

    Raises:
        EdgepackError: The request, the model or the data do not serve any target.
    """
    job = check(request)
    declared = intake_raw.load(job.preprocess, job.folder)
    for note in job.notes:
        tell(note)
    first = job.plans[0].target.name
    replayed = None if request.replay is None else record.load(request.replay, first)
    tell(f"reading {job.request.model}")
    job, source = intake_quantized.as_given(job, intake_source.load(job))
    intake_raw.require(declared, source.signature)
    _require_devices(job.request, source.signature)
    data = intake_data.load(job, source.signature)
    for note in (*source.notes, *data.notes):
        tell(note)
    if data.labelled:
        intake_labels.check(job.metric, data.judge, source)
    items = data.judge or _made_up(source)
    again = None if replayed is None else replayed.decided
    compressor = Compressor(job, source, data, tell, again)
    if helps_only():
        for plan in job.plans:
            compressor.compress(plan)
        return
    raw = None if declared is None else _raw(declared, source.signature, data)
    work = Work(job, source, data, items, compressor, replayed, tell, raw)
    for plan, path in zip(job.plans, job.paths, strict=True):
        try:
            yield _one(work, plan, path)
        except EdgepackError as error:
            yield error


def _require_devices(request: Request, signature: Signature) -> None:
    """Refuse a device that was asked for and cannot be given what the model takes."""
    for name in request.on:
        require_fit(open_device(name), signature)


def _made_up(source: Source) -> Items:
    """Return random samples, if the model takes them.

    Raises:
        RequestError: It does not: an open dimension must have some other size.
    """
    items = made_up(source.signature)
    session = Session(to_bytes(source.model))
    try:
        run_sequence(session.run, items[0].samples, source.signature)
    except (DataError, ModelError) as error:
        raise RequestError(
            "E-SHAPE",
            f"the model does not run on made-up inputs: {error}",
            hint="give --calib or --eval, or --shape NAME=1x3x224x224",
        ) from error
    return items


@dataclass(frozen=True, slots=True)
class Raw:
    """What is declared of raw input, and the golden sample that shows it."""

    declared: Declared
    first: First


def _raw(declared: Declared, signature: Signature, data: Data) -> Raw:
    item = None if data.judge is None else next(iter(data.judge), None)
    real = None if item is None else item.samples[0]
    return Raw(declared, intake_raw.first(declared, signature, real))


@dataclass(frozen=True, slots=True)
class Work:
    """What all targets of a build share."""

    job: Job
    source: Source
    data: Data
    items: Items
    compressor: Compressor
    replayed: record.Report | None
    tell: Tell
    raw: Raw | None = None


def _one(work: Work, plan: Plan, path: Path) -> Built:
    """Build the bundle of one target and write it with its report."""
    tell, watch, target = work.tell, _Watch(), plan.target
    smaller = work.compressor.compress(plan)
    watch.lap("compress")
    tell(f"{target.name}: rewriting the graph")
    rewritten = _rewritten(work, plan, smaller)
    watch.lap("rewrite")
    chooser = Chooser(rewritten, _terms(work, plan), _clock(work, plan), tell)
    origin = _origin(work, smaller)
    parts, barred = _settle(work, origin, chooser, watch)
    parts = replace(parts, tuned=_tuned(work, parts))
    watch.lap("tune")
    data, manifest = assemble.bundle(parts)
    digest = sha256(data)
    if work.replayed is not None:
        record.require_same(work.replayed, digest)
    beside = report_path(path)
    told = record.encode(assemble.report(digest, parts, barred, watch.laps))
    write_all({beside: told, path: data}, replace=work.job.request.force)
    about = "" if parts.tuned is None else parts.tuned.sentence
    said = (parts.chosen.speed, parts.sentences, about, parts.chosen.advice)
    return Built(path, beside, digest, len(data), manifest, *said)


def _rewritten(work: Work, plan: Plan, smaller: Compressed | None) -> Rewritten:
    """Make every candidate; the lossless steps are held to their promise on real samples."""
    model, data = work.source.model, work.data
    calibration = data.calibration if data.statistics is None else data.statistics
    found = rewrite(plan, model, work.source.signature, calibration)
    keeps_values(found, to_bytes(model), list(itertools.islice(work.items, 2)))
    if smaller is None:
        return uncompressed(plan, found)
    return rewrite_smaller(plan, found, smaller.made, calibration)


def _settle(
    work: Work, origin: assemble.Origin, chooser: Chooser, watch: "_Watch"
) -> tuple[assemble.Parts, dict[str, str]]:
    """Choose a candidate that the target's own kernels compute as exact mode here does."""
    barred: dict[str, str] = {}
    rewritten = chooser.rewritten
    target = rewritten.plan.target
    while True:
        chosen = chooser.choose(work.items)
        candidate = chosen.candidate
        watch.lap("gate")
        options = mode(target)
        first = None if work.raw is None else work.raw.first
        golden = record_golden(candidate.data, chosen.items, rewritten.signature, options, first)
        observed = _observe(work, rewritten, chosen, golden)
        code = one_code(candidate.model, golden.samples)
        floor = tolerances(golden.outputs, code, {})
        watch.lap("execute")
        reason = _disagreement(work, chosen, observed, floor)
        if not reason or not candidate.lossy:
            tolerance = tolerances(golden.outputs, code, observed.spread)
            raw = work.raw.declared.members if work.raw else {}
            operators = required_operators(candidate.model, candidate.data, target.arch)
            extras = {**raw, OPERATORS: operators}
            parts = assemble.Parts(
                origin, rewritten, chosen, observed, golden, tolerance, extras=extras
            )
            return parts, barred
        barred[candidate.name] = reason
        chooser.bar(chosen, reason)


def _disagreement(work: Work, chosen: Chosen, observed: Observed, floor: dict[str, float]) -> str:
    """Return why the target's kernels refuse a candidate, or did in the build that is replayed."""
    if work.replayed is not None:
        return work.replayed.barred.get(chosen.candidate.name, "")
    return disagreement(observed, floor, chosen.judged.cost_db)


class _Watch:
    """CPU seconds per phase, of this process and its children."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = _busy()

    def lap(self, name: str) -> None:
        """Close a phase."""
        now = _busy()
        self.laps[name], self._last = round(now - self._last, 2), now


def _busy() -> float:
    return sum(os.times()[:4])


def _terms(work: Work, plan: Plan) -> Terms:
    request = work.job.request
    return Terms(
        metric=work.job.metric if work.data.labelled else None,
        max_drop=request.max_drop,
        strict=request.strict,
        objective=request.prefer or plan.recipe.objective,
        require_int8=request.require == "int8",
        max_size=request.max_size,
        max_latency=request.max_latency,
        replayed=None if work.replayed is None else assemble.clocked_in(work.replayed),
        price=_price(work, plan),
        mixed={} if work.replayed is None else work.replayed.mixed,
    )


def _price(work: Work, plan: Plan) -> Price | None:
    """Return a clock of the target for a plan that weighs nodes by their time."""
    request = work.job.request
    asked = (request.prefer or plan.recipe.objective) == "speed" and step_of(plan) is not None
    return clock_at_hand(plan, request.on) if asked and work.replayed is None else None


def _clock(work: Work, plan: Plan) -> Place:
    """Return where candidates are timed; what is replayed was timed already."""
    on = () if work.replayed is not None else work.job.request.on
    return find_place(runtime_of(plan.target), on)


def _observe(work: Work, rewritten: Rewritten, chosen: Chosen, golden: Golden) -> Observed:
    """Execute on the target's kernels, or take what an earlier build saw there."""
    target = rewritten.plan.target
    if (old := work.replayed) is not None and old.choice == chosen.candidate.name:
        return Observed(old.executed, old.cost, old.spread)
    if old is not None:
        return Observed()
    if target.emulate:
        work.tell(f"{target.name}: running on emulated {', '.join(target.emulate)}")
    artifact = Artifact(
        chosen.candidate.data,
        rewritten.float_.data,
        rewritten.signature,
        golden,
        chosen.scored,
        chosen.items if isinstance(chosen.items, Dataset) else None,
    )
    return execute(artifact, target, work.job.request.on)


def _tuned(work: Work, parts: assemble.Parts) -> Tuned | None:
    """Look for session options where somebody asked, or take what an earlier build found."""
    request, target = work.job.request, parts.rewritten.plan.target
    if work.replayed is not None:
        return work.replayed.tuned
    if not request.tune:
        return None
    work.tell(f"{target.name}: tuning session options")
    candidate = parts.chosen.candidate
    settled = Settled(candidate, parts.golden, parts.tolerance, request.max_latency)
    return tune(settled, target, request.on, work.tell)


def _origin(work: Work, smaller: Compressed | None) -> assemble.Origin:
    notes = () if smaller is None else (*smaller.notes, *smaller.source.notes)
    return assemble.Origin(
        name=work.job.name,
        model_sha256=work.source.sha256,
        calibration_sha256=work.data.calibration_sha256,
        evaluation_sha256=work.data.evaluation_sha256,
        exporter=work.source.exporter,
        notes=(*work.source.notes, *work.data.notes, *notes),
        training_sha256=work.data.training_sha256,
        decided={} if smaller is None else smaller.decided,
    )
