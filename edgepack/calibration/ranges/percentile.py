"""The range that leaves a fixed share of values outside at each end."""

import msgspec
import numpy as np

from edgepack.calibration.statistics import Statistics


class Percentile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clip the rarest values.

    Source: Wu et al. 2020, arXiv:2004.09602, section 4.1 (99.99 % was best there); each end is cut
    by itself here, because activations that are not symmetric have a code for each.

    Attributes:
        percent: Of the values, how many lie at or below the upper end, and at or above the lower.
    """

    percent: float = 99.99

    def range(self, seen: Statistics) -> tuple[float, float]:
        """Return the range to quantize: percentiles to the outer edge of their bin."""
        bins = seen.histogram.bins()
        if not bins.counts.size:
            return seen.low, seen.high
        spared = bins.counts.sum() * (1 - self.percent / 100)
        high = bins.high[-1 - _first_beyond(bins.counts[::-1], spared)]
        low = bins.low[_first_beyond(bins.counts, spared)]
        return max(seen.low, float(low)), min(seen.high, float(high))


def _first_beyond(counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]], spared: float) -> int:
    """Return the first bin at which more than ``spared`` values have been passed."""
    return int(np.searchsorted(np.cumsum(counts), spared, side="right"))
