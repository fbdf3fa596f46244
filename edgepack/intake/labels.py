"""The labels of the evaluation data against the model's output, before anything expensive starts.

A label of the wrong shape, of another type, or of a class that the model does not have would
otherwise be met by the gate: after training, after calibration.
"""

import numpy as np

from edgepack.data.answers import Array
from edgepack.data.metrics import Metric, PerSample, Pooled
from edgepack.data.samples import Dataset
from edgepack.graph.write import to_bytes
from edgepack.intake.source import Source
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample, Signature

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def check(metric: Metric | None, judge: Dataset | None, source: Source) -> None:
    """Let a built-in metric read every label beside an output of zeros, of the right shape.

    The model runs once for each shape of input; where the shape of its output depends on values,
    on every sample. A metric of the user's own is not called on outputs that are made up.

    Raises:
        DataError: A label does not fit.
        RequestError: The metric is none for such outputs.
    """
    if judge is None or metric is None or not metric.needs_labels:
        return
    if not isinstance(metric, PerSample | Pooled):
        return
    blank = _Blank(source)
    outputs, labels = list[dict[str, Array]](), list[Array]()
    for item in judge:
        outputs += [blank.of(sample) for sample in item.samples]
        labels += item.labels
    metric.score(outputs, labels)


class _Blank:
    """Outputs of zeros, of the shape that the model gives a sample."""

    def __init__(self, source: Source) -> None:
        self._session = Session(to_bytes(source.model))
        self._signature = source.signature
        self._follows = _follows(source.signature)
        self._known: dict[_Shapes, dict[str, Array]] = {}

    def of(self, sample: Sample) -> dict[str, Array]:
        """Return the first reported output, blank."""
        key = tuple((name, array.shape) for name, array in sorted(sample.items()))
        if not self._follows or key not in self._known:
            (found,) = run_sequence(self._session.run, (sample,), self._signature)
            name = self._signature.reported[0].name
            self._known[key] = {name: np.zeros_like(found[name])}
        return self._known[key]


def _follows(signature: Signature) -> bool:
    """Whether the shape of the first output follows from the shapes of the inputs."""
    given = {dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, str)}
    return all(isinstance(dim, int) or dim in given for dim in signature.reported[0].shape)
