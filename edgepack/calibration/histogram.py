"""Counts of values in bins that never move: adding two histograms is adding integers.

A bin is the upper half of a float32: sign, exponent and 7 bits of mantissa. Bins are spaced by
magnitude, 0.4 to 0.8 % wide, the same for every tensor of every model, so nothing is ever binned
again, and any split or order of the data gives the same counts.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]

BINS = 1 << 16
_HALF = np.uint32(16)
_NO_EXPONENT = 0x7F80
"""Bits of the exponent: where all are set, the value is infinite or not a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often each bin was met; bins that were not are left out.

    Attributes:
        codes: Bins, ascending as integers, none twice.
        counts: Values in each, positive.
    """

    codes: Codes = field(default_factory=lambda: np.zeros(0, np.uint16))
    counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))

    def __add__(self, other: Self) -> "Histogram":
        """Merge; ``Histogram()`` is the neutral element."""
        if not self.codes.size:
            return Histogram(other.codes, other.counts)
        dense = np.zeros(BINS, np.int64)
        dense[self.codes] = self.counts
        dense[other.codes] += other.counts
        return _sparse(dense)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and np.array_equal(self.codes, other.codes)
            and np.array_equal(self.counts, other.counts)
        )

    def __hash__(self) -> int:
        return hash((self.codes.tobytes(), self.counts.tobytes()))

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def bins(self) -> "Bins":
        """Return the bins in the order of their values."""
        edge = (self.codes.astype(np.uint32) << _HALF).view(np.float32).astype(np.float64)
        step = (self.codes.astype(np.uint32) << _HALF) | np.uint32(0xFFFF)
        far = step.view(np.float32).astype(np.float64)
        low, high = np.minimum(edge, far), np.maximum(edge, far)
        # the bins of -0 and of 0 share an edge: by it alone their order would be open
        order = np.argsort(low + high, kind="stable")
        return Bins(low[order], high[order], self.counts[order].astype(np.float64))


@dataclass(frozen=True, slots=True)
class Bins:
    """A histogram on the real line.

    Attributes:
        low: Lower edge of each bin, ascending.
        high: Upper edge, the last float32 inside.
        counts: Values in each, as float64.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        return (self.low + self.high) / 2


def codes_of(values: npt.NDArray[np.generic]) -> Codes:
    """Return the bin of each value, flat."""
    words = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    return (words >> _HALF).astype(np.uint16)


def count(codes: npt.NDArray[np.integer]) -> Histogram:
    """Return the histogram of values whose bins are ``codes``."""
    return _sparse(np.bincount(codes, minlength=BINS))


def _sparse(dense: npt.NDArray[np.int64]) -> Histogram:
    met = np.flatnonzero(dense != 0)  # of booleans, it is five times faster
    return Histogram(met.astype(np.uint16), dense[met].astype(np.int64))


def all_finite(codes: Codes) -> bool:
    """Whether no bin is that of an infinity or of what is not a number."""
    return not bool(((codes & _NO_EXPONENT) == _NO_EXPONENT).any())
