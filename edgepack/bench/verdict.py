"""Is B slower than A? The interval and the decision, from log-ratios grouped by process.

A session carries its own speed (memory layout), and a process may carry one as well, so neither
rounds nor pairs are independent draws of the ratio: processes are. The interval is Student's over
the means of processes. Looks are planned beforehand and share the error, so that the intervals of
all looks together miss the true ratio at most that often, whenever one stops.
Source: Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", sections 6 and 9.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TypeAlias

from edgepack.base.stats import t_quantile

Groups: TypeAlias = Sequence[Sequence[float]]
"""Log of B's time over A's, one per pair of sessions, grouped by process."""

Decision: TypeAlias = Literal["slower", "no difference", "faster", "inconclusive"]

FEWEST = 5
"""Processes below which nothing is decided."""

_POWER = 0.9
_OPEN: Decision = "inconclusive"


@dataclass(frozen=True, slots=True)
class Bars:
    """What the interval is held against, as fractions; they mean the same in both directions.

    Attributes:
        tolerate: A slow-down that nobody minds.
        detect: A slow-down that must not be missed.
    """

    tolerate: float = 0.005
    detect: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.tolerate < self.detect < math.inf:
            raise ValueError(f"not 0 <= tolerate {self.tolerate} < detect {self.detect}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look found.

    Attributes:
        decision: ``slower`` where the interval lies above ``1 + tolerate``, ``faster`` where it
            lies below ``1 / (1 + tolerate)``, else ``no difference`` where it lies within
            ``detect`` of 1, else ``inconclusive``.
        ratio: B's time over A's: geometric mean over processes of those over their pairs.
        interval: Of ``ratio``.
        smallest_effect: The slow-down, as a fraction, that a run with this interval calls slower
            nine times in ten.
        processes: Fresh processes behind it.
        pairs: Fresh pairs of sessions behind it.
    """

    decision: Decision
    ratio: float
    interval: tuple[float, float]
    smallest_effect: float
    processes: int
    pairs: int


def judge(groups: Groups, error: float, bars: Bars) -> Verdict:
    """Return the verdict of one look.

    Args:
        groups: At least two processes of at least one pair; equally many pairs in each, so that
            a process counts as much as another.
        error: How often this look's interval may miss the true ratio.
        bars: What the interval is held against.

    Raises:
        ValueError: Fewer than two processes have no interval.
    """
    means = [math.fsum(group) / len(group) for group in groups]
    if len(means) < 2:
        raise ValueError(f"no interval from {len(means)} processes")
    center, deviation = fmean(means), _deviation(means) / math.sqrt(len(means))
    half = _quantile(len(means) - 1, 1 - error) * deviation
    margin = _quantile(len(means) - 1, 2 * _POWER - 1) * deviation
    return Verdict(
        decision=decide(center - half, center + half, bars) if len(means) >= FEWEST else _OPEN,
        ratio=_exp(center),
        interval=(_exp(center - half), _exp(center + half)),
        smallest_effect=_exp(math.log1p(bars.tolerate) + half + margin) - 1,
        processes=len(means),
        pairs=sum(map(len, groups)),
    )


def decided(verdict: Verdict) -> bool:
    """Whether there is nothing left to measure for."""
    return verdict.decision != _OPEN


Judge: TypeAlias = Callable[[Groups, float], tuple[Verdict, bool]]
"""From the groups and the error of one look to its verdict, and whether that is enough."""


def walk(
    look: Callable[[int], Groups], looks: Sequence[int], error: float, judged: Judge
) -> Verdict:
    """Go from look to look until one decides, or the measuring ends.

    Args:
        look: Measures until there are that many processes, and returns what there is; fewer mean
            that time is up and this is the last look. When that happens must not depend on the
            ratios.
        looks: Numbers of processes, planned beforehand, ascending.
        error: How often the intervals of all looks together may miss the true ratio.
        judged: Returns the verdict of a look, and whether it ends the walk.
    """
    assert looks, "at least one look is planned"
    for number in looks:
        groups = look(number)
        verdict, final = judged(groups, error / len(looks))
        if final or len(groups) < number:
            break
    return verdict


def decide(low: float, high: float, bars: Bars) -> Decision:
    """Hold an interval of the log-ratio against the bars."""
    tolerate, detect = math.log1p(bars.tolerate), math.log1p(bars.detect)
    if low > tolerate:
        return "slower"
    if high < -tolerate:
        return "faster"
    return "no difference" if -detect < low and high < detect else _OPEN


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation; ``statistics.stdev`` is exact and a hundred times slower."""
    center = fmean(values)
    return math.sqrt(math.fsum((each - center) ** 2 for each in values) / (len(values) - 1))


def _exp(value: float) -> float:
    """Return e to ``value``, kept finite: an interval may be as wide as it likes."""
    return math.exp(min(max(value, -700.0), 700.0))


@functools.cache
def _quantile(df: int, confidence: float) -> float:
    return t_quantile(df, confidence)
