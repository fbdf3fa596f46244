"""Statistics of one tensor as a commutative monoid: any split or order gives the same, bit for bit.

Source: sums of integers and extrema do not depend on order; sums of floats do.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from edgepack.calibration.histogram import Histogram, codes_of, count

Peaks = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What a tensor held over everything seen so far.

    Attributes:
        count: Runs that contributed.
        low: Smallest value of all, +inf when nothing was seen.
        high: Largest value of all, -inf when nothing was seen.
        histogram: Of all values of small tensors and of a sample of large ones; may be empty.
        peaks: Largest magnitude in each channel, shape ``(channels,)``; empty where the tensor has
            no fixed number of channels.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    histogram: Histogram = field(default_factory=Histogram)
    peaks: Peaks = field(default_factory=lambda: np.zeros(0, np.float32))

    def __add__(self, other: Self) -> "Statistics":
        """Merge; ``Statistics()`` is the neutral element.

        Raises:
            ValueError: The two are of tensors with different numbers of channels.
        """
        return Statistics(
            self.count + other.count,
            min(self.low, other.low),
            max(self.high, other.high),
            self.histogram + other.histogram,
            _larger(self.peaks, other.peaks),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistics) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[object, ...]:
        return self.count, self.low, self.high, self.histogram, self.peaks.tobytes()


def of(values: npt.NDArray[np.floating]) -> Statistics:
    """Return the statistics of one array, every value of it in the histogram."""
    return Statistics(1, float(values.min()), float(values.max()), count(codes_of(values)))


def _larger(a: Peaks, b: Peaks) -> Peaks:
    if not (a.size and b.size):
        return a if a.size else b
    if a.shape != b.shape:
        raise ValueError(f"{a.size} channels do not merge with {b.size}")
    return np.maximum(a, b)
