"""The story of a build: plan -> compress -> export -> rewrite -> gate -> measure -> pack."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgepack.base.errors import EdgepackError
from edgepack.base.files import sha256, write_whole
from edgepack.data.made_up import made_up
from edgepack.data.samples import Dataset
from edgepack.gate.candidates import keeps_values, rewrite
from edgepack.gate.choose import Items, Terms, choose, mode
from edgepack.gate.execution import Artifact, Observed, execute
from edgepack.gate.golden import record as record_golden
from edgepack.graph.write import to_bytes
from edgepack.intake import data as intake_data
from edgepack.intake import source as intake_source
from edgepack.intake.check import check
from edgepack.intake.data import Data
from edgepack.intake.request import Job, Reference, Request
from edgepack.intake.source import Source
from edgepack.plan import Plan
from edgepack.report import assemble, record
from edgepack.report.built import Built
from edgepack.spec.manifest import runtime_of
from edgepack.spec.target import Target

Tell = Callable[[str], None]
"""Takes each sentence of progress."""


def build(
    model: str | None = None,
    *,
    target: str,
    calib: Reference | None = None,
    evaluation: Reference | None = None,
    **options: object,
) -> Built:
    """Compress, export, quantize, verify and bundle a model for one target.

    Args:
        model: ``model.onnx``, ``program.pt2``, ``file.py:name``, ``pkg.module:name``; None for the
            ``edgepack.toml`` of the current folder.
        target: Name of a target.
        calib: Calibration samples: a REF, or an iterable of ``{input: array}``.
        evaluation: Evaluation samples: a REF, or an iterable of ``({input: array}, label)``.
        **options: Further fields of ``Request``, such as ``max_drop=0.01`` or ``out=Path("dist")``.

    Raises:
        EdgepackError: The build cannot be done; nothing was written.
    """
    fields = {"model": model, "targets": (target,), "calib": calib, "evaluation": evaluation}
    request = Request(**fields, **options)  # type: ignore[arg-type]  # Request checks its own names
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
    for note in job.notes:
        tell(note)
    replayed = None if request.replay is None else record.load(request.replay)
    tell(f"reading {job.request.model}")
    source = intake_source.load(job)
    data = intake_data.load(job, source.signature)
    for note in (*source.notes, *data.notes):
        tell(note)
    items = data.judge or made_up(source.signature)
    work = Work(job, source, data, items, replayed, tell)
    for plan, path in zip(job.plans, job.paths, strict=True):
        try:
            yield _one(work, plan, path)
        except EdgepackError as error:
            yield error


@dataclass(frozen=True, slots=True)
class Work:
    """What all targets of a build share."""

    job: Job
    source: Source
    data: Data
    items: Items
    replayed: record.Report | None
    tell: Tell


def _one(work: Work, plan: Plan, path: Path) -> Built:
    """Build the bundle of one target and write it with its report."""
    target, tell, watch = plan.target, work.tell, _Watch()
    tell(f"{target.name}: rewriting the graph")
    signature = work.source.signature
    rewritten = rewrite(plan, work.source.model, signature, work.data.calibration)
    keeps_values(rewritten, to_bytes(work.source.model), list(itertools.islice(work.items, 2)))
    watch.lap("rewrite")
    chosen = choose(rewritten, work.items, _terms(work, plan), runtime_of(target), tell)
    watch.lap("gate")
    golden = record_golden(chosen.candidate.data, chosen.items, signature, mode(target))
    artifact = Artifact(
        chosen.candidate.data,
        rewritten.float_.data,
        signature,
        golden,
        chosen.scored,
        chosen.items if isinstance(chosen.items, Dataset) else None,
    )
    observed = _observe(work, artifact, target)
    watch.lap("execute")
    data, manifest = assemble.bundle(_origin(work), rewritten, chosen, observed, golden)
    digest = sha256(data)
    beside = path.with_name(f"{path.stem}.report.json")
    write_whole(path, data)
    written = assemble.report(digest, chosen, observed, watch.laps)
    write_whole(beside, record.encode(written))
    return Built(path, beside, digest, len(data), manifest, chosen.sentences)


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
        name=request.metric or "top1",
        max_drop=request.max_drop,
        strict=request.strict,
        objective=request.prefer or plan.recipe.objective,
        require_int8=request.require == "int8",
        max_size=request.max_size,
        max_latency=request.max_latency,
        replayed=None if work.replayed is None else work.replayed.choice,
    )


def _observe(work: Work, artifact: Artifact, target: Target) -> Observed:
    """Execute on the target's kernels, or take what an earlier build saw there."""
    if (old := work.replayed) is not None:
        return Observed(old.executed, old.cost, old.spread)
    if target.emulate:
        work.tell(f"{target.name}: running on emulated {', '.join(target.emulate)}")
    return execute(artifact, target, work.job.request.on)


def _origin(work: Work) -> assemble.Origin:
    return assemble.Origin(
        name=work.job.name,
        model_sha256=work.source.sha256,
        calibration_sha256=work.data.calibration_sha256,
        evaluation_sha256=work.data.evaluation_sha256,
        exporter=work.source.exporter,
        notes=(*work.source.notes, *work.data.notes),
    )
