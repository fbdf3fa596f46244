"""How far two arrays are apart, whatever is in them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def largest_difference(want: npt.NDArray[Any], got: npt.NDArray[Any] | None) -> float:
    """Return the largest absolute difference.

    NaN equals NaN and an infinity equals itself; a shape that differs, a missing array, or a
    number where the other has none is infinitely far. Strings are equal or infinitely far.

    Args:
        want: What is expected, any shape.
        got: What came out, None where nothing did.
    """
    if got is None or got.shape != want.shape:
        return math.inf
    if want.dtype.kind in "UO" or got.dtype.kind in "UO":
        return 0.0 if bool((want.astype(str) == got.astype(str)).all()) else math.inf
    a, b = want.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.nan_to_num(gap, nan=math.inf, posinf=math.inf).max(initial=0.0))
