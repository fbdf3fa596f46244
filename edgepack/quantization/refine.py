"""GPTQ rounding of 8-bit matrices: codes change, scales stay, and so does the pair law.

The first of two neighbours along K takes the code it needs, the second what the law leaves to it;
what either lacks is made up for by the rows that follow, as any other error of rounding.

Source: Frantar et al. 2022, arXiv:2210.17323, algorithm 1; the law: ``pair_law.py``.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgepack.calibration.moments import Moments
from edgepack.quantization.gptq import Round, output_error, round_rows
from edgepack.quantization.pair_law import LIMIT, Weights
from edgepack.quantization.scales import QuantizedWeight

_TOP = 127


def refine(
    packed: QuantizedWeight,
    weight: npt.NDArray[np.floating],
    moments: Moments | None,
    *,
    pair_law: bool,
) -> QuantizedWeight:
    """Round a matrix again, for the inputs that were seen; keep what errs less on them.

    Args:
        packed: The matrix rounded to nearest, with scales along ``packed.axis``.
        weight: The matrix itself.
        moments: Of its input; None, or fewer rows than the matrix has, leave it as it is.
        pair_law: Whether neighbours along K must keep the law.
    """
    columns = weight.astype(np.float64) if packed.axis == 1 else weight.T.astype(np.float64)
    if moments is None or moments.rows < len(columns):
        return packed  # what so few rows tell of each other is mostly chance
    seen, scale = moments.total[0], packed.scale.astype(np.float64)
    found = round_rows(columns, seen, 2, lambda _: _pair(scale, pair_law=pair_law))
    zero = int(packed.zero_point[0])
    codes = packed.codes.astype(np.int64) - zero
    nearest = (codes if packed.axis == 1 else codes.T) * scale
    if output_error(columns, found, seen) >= output_error(columns, nearest, seen):
        return packed
    better = np.rint(found / scale).astype(np.int64) + zero
    better = better if packed.axis == 1 else better.T
    return replace(packed, codes=np.ascontiguousarray(better.astype(packed.codes.dtype)))


def _pair(scale: Weights, *, pair_law: bool) -> Round:
    """Return what rounds two neighbours, the first one first."""
    room = np.full(scale.shape, float(_TOP))

    def rounded(_: int, row: Weights) -> Weights:
        codes = np.clip(np.rint(row / scale), -room, room)
        if pair_law:
            np.minimum(LIMIT - np.abs(codes), _TOP, out=room)
        return np.asarray(codes * scale)

    return rounded
