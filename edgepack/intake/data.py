"""The data of a job: read once, linted, disjoint."""

from dataclasses import dataclass

from edgepack.base.errors import DataError
from edgepack.calibration.stored import Record
from edgepack.data.lint import Inspection, compare_ranges, inspect
from edgepack.data.samples import Dataset, open_dataset
from edgepack.data.split import hold_out, refuse_overlap
from edgepack.intake import stored
from edgepack.intake.request import Job
from edgepack.spec.signature import Signature
from edgepack.spec.step import Skip

_ENOUGH = 30
"""Calibration samples of which a fifth, 6, is held out: the fewest that can be selected on."""


@dataclass(frozen=True, slots=True)
class Data:
    """What calibrates and what judges; the two share no sample.

    Attributes:
        calibration: Where there are none, and no statistics, nothing static can be quantized.
        judge: What accuracy or fidelity is reported on; None where there are no data at all.
        labelled: Whether ``judge`` is the user's evaluation set, scored by the metric.
        calibration_sha256: Digest of all calibration data given, empty without.
        evaluation_sha256: Digest of the evaluation data, empty without.
        training: What compression trains on; shares no sample with ``judge``.
        training_sha256: Its digest, empty without.
        notes: Sentences for the user and the manifest.
        statistics: What was measured before on calibration data that are not at hand.
    """

    calibration: Dataset | None = None
    judge: Dataset | None = None
    labelled: bool = False
    calibration_sha256: str = ""
    evaluation_sha256: str = ""
    training: Dataset | None = None
    training_sha256: str = ""
    notes: tuple[str, ...] = ()
    statistics: Record | None = None


def load(job: Job, signature: Signature) -> Data:
    """Open and inspect the data of ``job``.

    Raises:
        DataError: They do not fit the model, are degenerate, or overlap.
    """
    request = job.request
    judge = scored = None
    scores, notes = request.evaluation is not None, list[str]()
    calibration, statistics, seen = _calibration(job, signature)
    if request.evaluation is not None:
        asks = job.metric is not None and job.metric.needs_labels
        if asks and request.metric is None and not _has_labels(job, signature):
            asks = scores = False
            notes.append("the evaluation data have no labels: judged by fidelity to float")
        judge = open_dataset(
            request.evaluation, signature, labelled=asks, folder=job.data_folders["evaluation"]
        )
        scored = inspect(judge, "evaluation")
    training, trained = _training(job, signature)
    notes += [note for each in (seen, scored, trained) if each for note in each.notes]
    for used in (each for each in (seen, trained) if each and scored):
        assert scored is not None
        refuse_overlap(used, scored)
        compare_ranges(used, scored)
    if calibration is not None and judge is None:
        parts = hold_out(calibration)
        if parts.fit is parts.held:
            _refuse_one(job)
        calibration, judge = parts.fit, parts.held
        notes.append("no evaluation data: judged by fidelity on calibration samples held out")
        notes += [parts.note] if parts.note else []
    if judge is None:
        notes.append("no data: fidelity is to the float model on made-up inputs, and shows little")
    if job.metric is not None and request.evaluation is None:
        notes.append("the metric is not used: there are no evaluation data")
    return Data(
        calibration,
        judge,
        scores,
        seen.sha256 if seen else "",
        scored.sha256 if scored else "",
        training,
        trained.sha256 if trained else "",
        tuple(notes),
        statistics,
    )


def _calibration(
    job: Job, signature: Signature
) -> tuple[Dataset | None, Record | None, Inspection | None]:
    """Open the calibration data, or the statistics that stand for them."""
    calib, folder = job.request.calib, job.data_folders["calib"]
    if calib is None:
        return None, None, None
    if (kept := stored.path_of(calib, folder)) is not None:
        return None, *stored.load(kept, job.plans)
    calibration = open_dataset(calib, signature, labelled=False, folder=folder)
    return calibration, None, inspect(calibration, "calibration")


def _refuse_one(job: Job) -> None:
    """Refuse to round a model to one sample and to judge it on the same.

    Raises:
        DataError: A recipe would.
    """
    steps = [
        bound for plan in job.plans for bound in plan.graph if bound.use.startswith("quantize")
    ]
    if any(not isinstance(bound.step, Skip) for bound in steps):
        raise DataError(
            "E-CAL-FEW",
            "one calibration sample cannot both set ranges and judge them, at least 2 are needed",
            hint=f"give {_ENOUGH} or more, so that some are held out to judge and to select on, "
            "or give --eval",
        )


def _training(job: Job, signature: Signature) -> tuple[Dataset | None, Inspection | None]:
    """Open what compression trains on, where a plan has a step that does."""
    steps = (bound.step for plan in job.plans for bound in plan.compress)
    if job.request.training is None or all(isinstance(step, Skip) for step in steps):
        return None, None
    folder = job.data_folders["training"]
    training = open_dataset(job.request.training, signature, labelled=True, folder=folder)
    return training, inspect(training, "training")


def _has_labels(job: Job, signature: Signature) -> bool:
    """Look at the first evaluation sample."""
    folder = job.data_folders["evaluation"]
    labelled = open_dataset(job.request.evaluation, signature, labelled=True, folder=folder)
    try:
        next(iter(labelled), None)
    except DataError as error:
        return error.code != "E-DATA-LABELS"
    return True
