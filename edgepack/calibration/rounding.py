"""What a range costs: the squared error of rounding inside it and clipping outside."""

import numpy as np
import numpy.typing as npt

from edgepack.calibration.histogram import Bins

Array = npt.NDArray[np.float64]

_STEPS = 255
"""Between the 256 codes of a byte."""


def squared_error(bins: Bins, lows: Array, highs: Array) -> Array:
    """Return the error of each range ``lows[i] <= 0 <= highs[i]`` with 256 codes.

    A bin wider than a step errs as much as values spread evenly do, ``step ** 2 / 12`` (Widrow and
    Kollar 2008, eq. 4.13); a narrower one as its centre does.

    Args:
        bins: Distribution of the values.
        lows: Lower ends, shape ``(k,)``.
        highs: Upper ends, shape ``(k,)``.
    """
    step = np.maximum((highs - lows) / _STEPS, np.finfo(np.float32).tiny)[:, None]
    zero = np.rint(-lows[:, None] / step)
    points = bins.centre
    codes = np.clip(np.rint(points / step), -zero, _STEPS - zero)
    error = np.square(codes * step - points)
    spread = (bins.high - bins.low >= step) & (np.abs(codes * step - points) <= step / 2)
    return np.asarray(np.where(spread, np.square(step) / 12, error) @ bins.counts)
