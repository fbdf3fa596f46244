"""The range with the least squared error, of what is rounded and of what is clipped together.

Source: Banner et al. 2019, arXiv:1810.05723, section 3 (clipping against rounding); Nagel et al.
2021, arXiv:2106.08295, section 2.2.1 (grid search).
"""

import msgspec
import numpy as np

from edgepack.calibration.histogram import Bins
from edgepack.calibration.rounding import squared_error
from edgepack.calibration.statistics import Statistics

_GROUPS = 2048
"""Bins that stand for the distribution."""

_SHRINK = np.linspace(0.2, 1.0, 65)
"""Fractions of each end that are tried."""

_ROUNDS = 2
"""Times that each end is searched with the other one fixed, after both have shrunk together."""


class Mse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clip where it saves more rounding error than it costs."""

    def range(self, seen: Statistics) -> tuple[float, float]:
        """Return the range to quantize, in the tensor's own unit."""
        bins = seen.histogram.bins()
        least, most = min(seen.low, 0.0), max(seen.high, 0.0)
        if not bins.counts.size or least == most:
            return seen.low, seen.high
        bins = _joined(bins)
        lows, highs = _SHRINK * least, _SHRINK * most
        best = int(np.argmin(squared_error(bins, lows, highs)))
        low, high = lows[best], highs[best]
        for _ in range(_ROUNDS):
            high = highs[np.argmin(squared_error(bins, np.full_like(highs, low), highs))]
            low = lows[np.argmin(squared_error(bins, lows, np.full_like(lows, high)))]
        high, low = max(float(high), seen.low), min(float(low), seen.high)
        return max(low, seen.low), min(high, seen.high)


def _joined(bins: Bins) -> Bins:
    """Join neighbours until at most ``_GROUPS`` bins are left."""
    count = len(bins.counts)
    if count <= _GROUPS:
        return bins
    starts = np.unique(np.linspace(0, count, _GROUPS, endpoint=False).astype(np.int64))
    ends = np.append(starts[1:], count) - 1
    return Bins(bins.low[starts], bins.high[ends], np.add.reduceat(bins.counts, starts))
