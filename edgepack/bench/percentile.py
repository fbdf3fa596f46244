"""Percentiles of a latency, only where there are samples enough to speak of them.

The rule is that of MLPerf LoadGen's early stopping: a percentile ``p`` of ``n`` samples is reported
where at least one sample may lie above the bound and one can still be 99 % sure that the true
percentile lies below it. It takes samples for independent draws; those of a busy machine come in
clumps, and the bound is then too low.
Source: MLPerf LoadGen, ``early_stopping.cc`` and ``results.cc``, scenario SingleStream.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (50, 90, 99)

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile of a latency.

    Attributes:
        value: Of the samples, in seconds.
        bound: What the true one does not exceed, with 99 % confidence, in seconds.
    """

    value: float
    bound: float


def percentile(seconds: Sequence[float], percent: int) -> Percentile | None:
    """Return a percentile, or None where the samples do not support it.

    Args:
        seconds: Samples, in any order.
        percent: 1 to 99.
    """
    above = discarded(len(seconds), percent)
    if above == 0:
        return None
    ordered = np.sort(np.asarray(seconds))
    return Percentile(float(np.percentile(ordered, percent)), float(ordered[-above]))


def percentiles(seconds: Sequence[float]) -> dict[str, Percentile | None]:
    """Return p50, p90 and p99; None for each that the samples do not support."""
    return {f"p{p}": percentile(seconds, p) for p in PERCENTILES}


@functools.cache
def discarded(number: int, percent: int) -> int:
    """Return how many of ``number`` samples may lie above a bound of the percentile; 0: too few.

    The largest ``t`` with ``P(B <= t) < 1 - confidence``, B binomial of ``number`` trials with the
    chance ``1 - percent / 100`` of lying above.
    """
    over = 1 - percent / 100
    total, allowed = 0.0, 0
    for t in range(number + 1):
        total += math.exp(
            _log_binomial(number, t) + t * math.log(over) + (number - t) * _log1m(over)
        )
        if total >= 1 - CONFIDENCE:
            break
        allowed = t
    return allowed


@functools.cache
def needed(percent: int) -> int:
    """Return the fewest samples that support a percentile."""
    return next(number for number in range(1, 100_000) if discarded(number, percent))


def _log_binomial(number: int, chosen: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)


def _log1m(value: float) -> float:
    return math.log1p(-value)
