"""One look at every sample before any work starts: what would make a build succeed and be wrong.

A calibrator trusts its input: one NaN or Inf, an all-zero set, pixels of 0 to 255 for a model of
0 to 1 all give a model that loads and answers nonsense, without a warning (onnxruntime#23749,
TensorRT#2628, tensorflow-yolov4-tflite#228).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError
from edgepack.data.samples import Dataset

Role = Literal["calibration", "evaluation", "training"]

FEW = 16
"""Fewer samples than this are worth a sentence."""

FAR = 10.0
"""Ranges this many times apart come from different preprocessing, not from different samples."""


@dataclass(frozen=True, slots=True)
class Range:
    """What one input spans over a whole data set.

    Attributes:
        low: Smallest value.
        high: Largest value.
        rms: Root mean square, which a single outlier moves less.
    """

    low: float
    high: float
    rms: float

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one pass over a data set has shown.

    Attributes:
        role: What the data are for.
        name: The reference.
        samples: Number of run calls.
        items: Number of samples, or of sequences with carried state.
        sha256: Digest of samples and labels.
        ranges: Of each float input.
        digests: 16 bytes per item.
        notes: Sentences for people.
    """

    role: Role
    name: str
    samples: int
    items: int
    sha256: str
    ranges: dict[str, Range]
    digests: tuple[bytes, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Span:
    """Running extremes of one input; constant memory."""

    low: float = math.inf
    high: float = -math.inf
    squares: float = 0.0
    count: int = 0
    real: bool = field(default=False)

    def add(self, array: npt.NDArray[Any]) -> None:
        low, high = float(array.min()), float(array.max())  # NaN goes through both
        if not math.isfinite(low + high):
            raise ValueError("NaN" if math.isnan(low) else "Inf")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.real = "float" in array.dtype.name
        if self.real:
            self.squares += float(np.square(array, dtype=np.float64).sum())
            self.count += array.size

    def range(self) -> Range:
        return Range(self.low, self.high, math.sqrt(self.squares / self.count))


def inspect(dataset: Dataset, role: Role) -> Inspection:
    """Read every sample once and refuse what cannot serve.

    Args:
        dataset: Its digests and lengths are known afterwards without another pass.
        role: What the data are for; it stands in the messages.

    Raises:
        DataError: No samples, a value that is not finite, or nothing that varies.
    """
    spans: dict[str, _Span] = {}
    for item in dataset:
        for frame, sample in enumerate(item.samples):
            for name, array in sample.items():
                if array.dtype.kind == "U":
                    continue
                try:
                    spans.setdefault(name, _Span()).add(array)
                except ValueError as error:
                    at = f", frame {frame}" if len(item.samples) > 1 else ""
                    raise DataError(
                        "E-DATA-NAN",
                        f"{role} {item.where}{at}: {error} in {name!r}",
                        hint="find where the preprocessing makes it, or leave this sample out",
                    ) from error
    _refuse_degenerate(dataset, role, spans)
    contents = dataset.contents
    return Inspection(
        role=role,
        name=dataset.name,
        samples=sum(contents.lengths),
        items=len(contents.digests),
        sha256=contents.sha256,
        ranges={name: span.range() for name, span in spans.items() if span.real},
        digests=contents.digests,
        notes=tuple(_notes(dataset, role, spans)),
    )


def compare_ranges(calibration: Inspection, evaluation: Inspection) -> None:
    """Refuse data that were not prepared in the same way.

    Both the peak and the root mean square must be far apart: quiet recordings have the one, a
    single outlier the other, and 0 to 255 against 0 to 1 both.

    Raises:
        DataError: A float input is ten times larger in one than in the other.
    """
    for name in calibration.ranges.keys() & evaluation.ranges.keys():
        a, b = calibration.ranges[name], evaluation.ranges[name]
        for small, large in ((a, b), (b, a)):
            if 0 < small.peak * FAR < large.peak and small.rms * FAR < large.rms:
                raise DataError(
                    "E-CAL-RANGE",
                    f"{name!r} spans [{a.low:.4g}, {a.high:.4g}] in {calibration.role} and "
                    f"[{b.low:.4g}, {b.high:.4g}] in {evaluation.role}",
                    hint="prepare both in the same way, as in training",
                )


def _refuse_degenerate(dataset: Dataset, role: Role, spans: dict[str, _Span]) -> None:
    digests = dataset.contents.digests
    if not digests:
        raise DataError(
            "E-DATA-EMPTY",
            f"no samples in the {role} data {dataset.name!r}",
            hint="an .npz holds an array for each input, samples stacked along its first axis",
        )
    if len(digests) > 1 and len(set(digests)) == 1:
        raise DataError(
            "E-DATA-CONSTANT",
            f"all {len(digests)} {role} samples of {dataset.name!r} are the same",
            hint="give real, different samples",
        )
    constant = [name for name, span in spans.items() if span.low == span.high]
    real = [name for name, span in spans.items() if span.real]
    # token ids, masks and control values may stand still as long as something moves
    if real and len(constant) == len(spans):
        value = spans[real[0]].low
        raise DataError(
            "E-DATA-CONSTANT",
            f"{real[0]!r} is {value:g} everywhere in the {role} data {dataset.name!r}",
            hint="give real samples, prepared as in training",
        )


def _notes(dataset: Dataset, role: Role, spans: dict[str, _Span]) -> Iterator[str]:
    contents = dataset.contents
    count = sum(contents.lengths)
    if count < FEW:
        few = "one sample" if count == 1 else f"{count} samples"
        yield f"only {few} in the {role} data: results rest on little"
    if repeated := len(contents.digests) - len(set(contents.digests)):
        yield f"{repeated} of {len(contents.digests)} {role} samples are repeats of others"
    for name, span in spans.items():
        if span.real and span.low == span.high:
            yield f"{name!r} is {span.low:g} in all {role} samples"
