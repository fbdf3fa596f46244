"""One streaming pass of the calibration data through a model, for every range method at once.

Tensors are reduced inside the graph, so each run returns a few numbers a channel and, for the
histogram, some thousand values a tensor. Those wait as bins of two bytes until there are enough to
be counted: memory does not grow with samples. The session is optimized; only the tapped tensors
keep the runtime from fusing.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from edgepack.base.errors import DataError
from edgepack.calibration.histogram import Codes, Histogram, all_finite, codes_of, count
from edgepack.calibration.phase import phase
from edgepack.calibration.statistics import Statistics
from edgepack.calibration.taps import Tap, tapped
from edgepack.calibration.thinning import PHASE
from edgepack.data.samples import Item
from edgepack.runtime.carry import Outputs, run_sequence
from edgepack.spec.signature import Sample, Signature

_WAITING = 1 << 23
"""Bins that may wait to be counted, 16 MiB: counting clears and reads 65,536 bins a tensor."""


def collect(
    model: ir.Model,
    tensors: Sequence[str],
    items: Iterable[Item],
    signature: Signature,
    *,
    histograms: bool = True,
) -> dict[str, Statistics]:
    """Run ``items`` through ``model`` and return the statistics of each of ``tensors``.

    Args:
        model: Float model; left as it is.
        tensors: Names of float tensors of the main graph.
        items: Calibration data; read once, in order.
        signature: Interface of ``model`` with its carried state.
        histograms: Whether to count values; extrema alone are a little cheaper.

    Raises:
        DataError: A tensor became infinite or not a number, or there are no items.
    """
    if not tensors:
        return {}
    source = tapped(model, tensors, histograms=histograms)
    tally = _Tally(source.taps)
    wanted = [*tally.outputs, *signature.state]

    def run(sample: Sample) -> Outputs:
        fed = {**sample, PHASE: np.array([phase(sample)], np.int64)} if source.phased else sample
        return source.session.run(fed, wanted)

    for index, item in enumerate(items):
        for outputs in run_sequence(run, item.samples, signature):
            tally.add(outputs, index)
    if tally.runs == 0:
        raise DataError("E-CAL-EMPTY", "no calibration sample to measure ranges on")
    return tally.statistics()


class _Tally:
    """Extrema of all tensors in one long vector, and bins that wait to be counted."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self.runs = 0
        self._taps = taps
        self._ends = np.cumsum([max(tap.channels, 1) for tap in taps])
        self._measured = np.repeat([bool(tap.low) for tap in taps], np.diff(self._ends, prepend=0))
        self._low = np.where(self._measured, np.float32(math.inf), np.float32(0))
        self._high = np.full(self._ends[-1], -math.inf, np.float32)
        self._totals = [tap for tap in taps if tap.total]
        self._histograms = [Histogram() for _ in taps]
        self._values = [tap.values for tap in taps if tap.values]
        self._waiting: list[tuple[Codes, list[int]]] = []  # of all tensors; where each begins
        self._scratch = np.empty(0, np.intp)
        self._first, self._size = 0, 0

    @property
    def outputs(self) -> list[str]:
        """Names of what each run must return."""
        every = ((tap.low, tap.high, tap.total, tap.values) for tap in self._taps)
        return [name for names in every for name in names if name]

    def add(self, outputs: Outputs, index: int) -> None:
        """Take in one run of calibration sample ``index``."""
        lows = [outputs[tap.low].reshape(-1) for tap in self._taps if tap.low]
        low = np.concatenate([*lows, np.zeros(0, np.float32)])
        high = np.concatenate([outputs[tap.high].reshape(-1) for tap in self._taps])
        sound = np.isfinite(low).all() and np.isfinite(high).all()
        if not (sound and all(np.isfinite(outputs[tap.total]) for tap in self._totals)):
            raise _not_finite(self._culprit(outputs), f"sample {index}")
        self._low[self._measured] = np.minimum(self._low[self._measured], low)
        np.maximum(self._high, high, out=self._high)
        self.runs += 1
        if self._values:
            values = [outputs[name] for name in self._values]
            starts = list(itertools.accumulate(map(len, values), initial=0))
            self._waiting.append((codes_of(np.concatenate(values)), starts))
            self._size += starts[-1]
        if self._size > _WAITING:
            self._count(index)

    def statistics(self) -> dict[str, Statistics]:
        """Return what was seen, by tensor."""
        self._count(self.runs)
        lows, highs = (np.split(ends, self._ends[:-1]) for ends in (self._low, self._high))
        found = {}
        for tap, low, high, histogram in zip(
            self._taps, lows, highs, self._histograms, strict=True
        ):
            peaks = np.maximum(np.abs(low), np.abs(high))[: tap.channels]
            found[tap.name] = Statistics(
                self.runs, float(low.min()), float(high.max()), histogram, peaks
            )
        return found

    def _count(self, index: int) -> None:
        for place, tap in enumerate(self._taps if self._waiting else ()):
            waiting = [codes[at[place] : at[place + 1]] for codes, at in self._waiting]
            size = sum(map(len, waiting))
            if size > self._scratch.size:
                self._scratch = np.empty(0, np.intp)  # not both at once
                self._scratch = np.empty(size, np.intp)
            # as the type that bincount wants, into pages that are there already
            counted = count(np.concatenate(waiting, out=self._scratch[:size]))
            if not all_finite(counted.codes):
                raise _not_finite(tap.name, f"samples {self._first} to {index}")
            self._histograms[place] += counted
        self._waiting.clear()
        self._first, self._size = index + 1, 0

    def _culprit(self, outputs: Outputs) -> str:
        """Return the first tensor, in the order asked for, that is not finite."""
        for tap in self._taps:
            ends = [name for name in (tap.low, tap.high, tap.total) if name]
            if not all(np.isfinite(outputs[name]).all() for name in ends):
                return tap.name
        raise AssertionError("asked only where one is not finite")


def _not_finite(name: str, where: str) -> DataError:
    return DataError(
        "E-CAL-RANGE",
        f"tensor {name!r} is not finite on calibration {where}",
        hint="does the float model overflow on this sample?",
    )
