"""The data of a job: read once, linted, disjoint."""

from dataclasses import dataclass

from edgepack.base.errors import DataError
from edgepack.data.lint import Inspection, compare_ranges, inspect
from edgepack.data.samples import Dataset, open_dataset
from edgepack.data.split import hold_out, refuse_overlap
from edgepack.intake.request import Job
from edgepack.spec.signature import Signature


@dataclass(frozen=True, slots=True)
class Data:
    """What calibrates and what judges; the two share no sample.

    Attributes:
        calibration: None where nothing static can be quantized.
        judge: What accuracy or fidelity is reported on; None where there are no data at all.
        labelled: Whether ``judge`` is the user's evaluation set, scored by the metric.
        calibration_sha256: Digest of all calibration data given, empty without.
        evaluation_sha256: Digest of the evaluation data, empty without.
        notes: Sentences for the user and the manifest.
    """

    calibration: Dataset | None = None
    judge: Dataset | None = None
    labelled: bool = False
    calibration_sha256: str = ""
    evaluation_sha256: str = ""
    notes: tuple[str, ...] = ()


def load(job: Job, signature: Signature) -> Data:
    """Open and inspect the data of ``job``.

    Raises:
        DataError: They do not fit the model, are degenerate, or overlap.
    """
    request = job.request
    calibration = judge = None
    scores, notes = request.evaluation is not None, list[str]()
    seen: Inspection | None = None
    scored: Inspection | None = None
    if request.calib is not None:
        calibration = open_dataset(
            request.calib, signature, labelled=False, folder=job.data_folders["calib"]
        )
        seen = inspect(calibration, "calibration")
    if request.evaluation is not None:
        asks = job.metric is not None and job.metric.needs_labels
        if asks and request.metric is None and not _has_labels(job, signature):
            asks = scores = False
            notes.append("the evaluation data have no labels: judged by fidelity to float")
        judge = open_dataset(
            request.evaluation, signature, labelled=asks, folder=job.data_folders["evaluation"]
        )
        scored = inspect(judge, "evaluation")
    notes += [*(seen.notes if seen else ()), *(scored.notes if scored else ())]
    if seen and scored:
        refuse_overlap(seen, scored)
        compare_ranges(seen, scored)
    if calibration is not None and judge is None:
        parts = hold_out(calibration)
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
        tuple(notes),
    )


def _has_labels(job: Job, signature: Signature) -> bool:
    """Look at the first evaluation sample."""
    folder = job.data_folders["evaluation"]
    labelled = open_dataset(job.request.evaluation, signature, labelled=True, folder=folder)
    try:
        next(iter(labelled), None)
    except DataError as error:
        return error.code != "E-DATA-LABELS"
    return True
