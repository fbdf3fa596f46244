"""Statistics of one tensor as a commutative monoid: any split or order gives the same."""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Statistics:
    """Extrema of a tensor over everything seen so far.

    Attributes:
        count: Runs that contributed.
        low: Smallest value, +inf when nothing was seen.
        high: Largest value, -inf when nothing was seen.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf

    def __add__(self, other: Self) -> "Statistics":
        """Merge; ``Statistics()`` is the neutral element."""
        return Statistics(
            self.count + other.count, min(self.low, other.low), max(self.high, other.high)
        )
