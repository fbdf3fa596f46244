"""The threshold at which the quantized distribution tells least apart from the real one.

Source: Migacz 2017, "8-bit Inference with TensorRT", GTC S7310, slides 26-38: 2,048 bins of
magnitudes, 128 levels, the least Kullback-Leibler divergence of all thresholds. The first bin,
which a Relu fills with zeros that any scale holds exactly, counts as its neighbour: left alone, its
spike decides, and healthy layers are clipped to pieces.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from edgepack.calibration.histogram import Bins
from edgepack.calibration.statistics import Statistics

Array = npt.NDArray[np.float64]

BINS = 2048
LEVELS = 128

_ENDS = np.arange(LEVELS, BINS + 1, 4)
"""Thresholds that are tried, in bins; the source tries every one, 0.05 % of the range apart."""

_EDGES = (_ENDS[:, None] * np.arange(LEVELS + 1)) // LEVELS

_MOST_CLIPPED = 0.1
"""Of the values. Beyond it both distributions become one bin and agree: a tensor of 3 to 4 would
be cut at 3. The source, made for magnitudes that pile up at 0, has no such limit."""

_NOTHING = 1e-10
"""Probability that stands for none, where the real distribution has some."""


class Entropy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clip magnitudes above the threshold of least divergence."""

    def range(self, seen: Statistics) -> tuple[float, float]:
        """Return the range to quantize: within the threshold, and within what was seen."""
        top = max(-seen.low, seen.high)
        bins = seen.histogram.bins()
        if not bins.counts.size or top <= 0:
            return seen.low, seen.high
        counts = magnitudes(bins, top)
        counts[0] = counts[1]
        threshold = top * float(_ENDS[np.argmin(divergences(counts))]) / BINS
        return max(seen.low, min(-threshold, seen.high)), min(seen.high, max(threshold, seen.low))


def magnitudes(bins: Bins, top: float) -> Array:
    """Spread counts over ``BINS`` equal bins of magnitude up to ``top``.

    A bin of the histogram can be wider than one here: its values are taken as evenly spread.
    """
    edges = np.linspace(0, top, BINS + 1)
    counts = np.zeros(BINS)
    for low, high, part in (
        (bins.low, bins.high, bins.centre > 0),
        (-bins.high[::-1], -bins.low[::-1], (bins.centre <= 0)[::-1]),
    ):
        if part.any():
            weight = (bins.counts if low is bins.low else bins.counts[::-1])[part]
            passed = np.concatenate([[0.0], np.cumsum(weight)])
            at = np.stack([low[part], high[part]], axis=1).reshape(-1)
            steps = np.stack([passed[:-1], passed[1:]], axis=1).reshape(-1)
            counts += np.diff(np.interp(edges, at, steps, left=0.0))
            counts[-1] += passed[-1] - np.interp(top, at, steps)
    return counts


def divergences(counts: Array) -> Array:
    """Return KL(P || Q) of each threshold: P clipped at it, Q reduced to ``LEVELS`` levels.

    Within a level Q is constant over the bins that hold anything, so that
    ``sum P log Q = sum over levels S log(S / n)``: sums of counts and of bins, at the levels' edges
    alone, taken from running totals.
    """
    total = counts.sum()
    running = np.concatenate([[0.0], np.cumsum(counts)])
    filled = np.concatenate([[0], np.cumsum(counts > 0)])
    logs = np.concatenate([[0.0], np.cumsum(_x_log_x(counts))])
    sums, widths = np.diff(running[_EDGES], axis=1), np.diff(filled[_EDGES], axis=1)
    level = np.log(np.maximum(sums / np.maximum(widths, 1), _NOTHING * total))
    kept = running[_ENDS]
    clipped = total - kept
    last = counts[_ENDS - 1]
    p_log_p = logs[_ENDS - 1] + _x_log_x(last + clipped) - total * np.log(total)
    log_last = np.where(last > 0, level[:, -1], np.log(_NOTHING * total))
    p_log_q = (sums * level).sum(axis=1) + clipped * log_last
    p_log_q -= total * np.log(np.maximum(kept, _NOTHING * total))
    found = (p_log_p - p_log_q) / total
    return np.where(clipped <= _MOST_CLIPPED * total, found, np.inf)


def _x_log_x(values: Array) -> Array:
    return values * np.log(np.where(values > 0, values, 1.0))
