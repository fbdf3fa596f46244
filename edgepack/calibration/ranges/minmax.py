"""The range that loses nothing: from the smallest to the largest value seen."""

import msgspec

from edgepack.calibration.statistics import Statistics


class Minmax(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clip nothing.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.1, without the moving average.
    """

    def range(self, seen: Statistics) -> tuple[float, float]:
        """Return the range to quantize, in the tensor's own unit."""
        return seen.low, seen.high
