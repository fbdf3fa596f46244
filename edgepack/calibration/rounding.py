"""What a range costs: the squared error of rounding inside it and clipping outside."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_STEPS = 255
"""Between the 256 codes of a byte."""


def squared_error(points: Array, counts: Array, lows: Array, highs: Array) -> Array:
    """Return the error of each range ``lows[i] <= 0 <= highs[i]`` with 256 codes.

    Args:
        points: Values, shape ``(n,)``.
        counts: How often each occurs, shape ``(n,)``.
        lows: Lower ends, shape ``(k,)``.
        highs: Upper ends, shape ``(k,)``.
    """
    step = np.maximum((highs - lows) / _STEPS, np.finfo(np.float64).tiny)[:, None]
    zero = np.rint(-lows[:, None] / step)
    codes = np.clip(np.rint(points / step), -zero, _STEPS - zero)
    return np.asarray(np.square(codes * step - points) @ counts)
