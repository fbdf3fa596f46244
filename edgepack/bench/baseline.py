"""Is a model slower than it was? What earlier runs on the same machine allow to say.

A run carries its own speed: the state of the machine while it lasts, which all of its samples
share. Neither samples nor processes of one run show how far runs differ, so a statement takes
several earlier runs, and the new one is held against what another run of theirs would give.
Source: the prediction interval of one more draw, Hahn and Meeker 1991, "Statistical Intervals",
section 4.8; a run's log 25th percentile is the draw. Taken after the runs that it is compared
with, a new run is no control for what changed meanwhile: that takes ``edgepack compare``. Earlier
runs that followed each other at once are alike, and spread less than those of different days;
how often that misleads is in ``benchmarks/against.py``.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from edgepack.base.errors import RequestError, nearest
from edgepack.base.stats import t_quantile
from edgepack.bench import surroundings
from edgepack.bench.measure import facts
from edgepack.bench.measured import Result, load
from edgepack.bench.record import LOW
from edgepack.bench.scenario import Scenario
from edgepack.bench.subject import Subject
from edgepack.bench.summary import summarize
from edgepack.bench.verdict import FEWEST, Bars, Decision, decide

Runs: TypeAlias = tuple[Result, ...]
"""Of one model, in one scenario, on one machine."""

ERROR = 0.01
"""How often the interval may miss the true ratio."""

MACHINE = ("cpu", "arch", "features", "cores", "quota", "libc", "onnxruntime")
"""The facts that must be the same for two runs to be of one machine."""


class Statement(msgspec.Struct, frozen=True):
    """What a new run says beside earlier ones.

    Attributes:
        decision: As ``compare`` decides, by an interval that holds the spread of whole runs.
        ratio: The new time over the geometric mean of the earlier ones.
        interval: Of ``ratio``; None where fewer than two earlier runs show no spread.
        confidence: Of ``interval``.
        runs: Earlier ones.
        reason: Why nothing was decided, where more than the spread is the cause.
    """

    decision: Decision
    ratio: float
    interval: tuple[float, float] | None
    confidence: float
    runs: int
    reason: Literal["", "too few earlier runs", "this run is invalid"] = ""


def find(paths: Sequence[Path], subjects: Sequence[Subject], scenario: Scenario) -> list[Runs]:
    """Return the earlier runs of each subject; everything is checked, nothing measured.

    Args:
        paths: What ``bench -o`` wrote; each result in it is a run.
        subjects: What is about to be measured.
        scenario: How.

    Raises:
        RequestError: A file cannot be read, holds no run of a subject, or holds one that was
            measured otherwise than is about to be done.
        DataError: It is no such file.
    """
    earlier = [each for path in paths for each in load(path)]
    if any(each in earlier[:number] for number, each in enumerate(earlier)):
        raise RequestError("E-BASELINE", "a run is given twice", hint="give each file once")
    here = facts()
    found = [_of(each, earlier, alone=len(subjects) == 1) for each in subjects]
    for subject, runs in zip(subjects, found, strict=True):
        for run in runs:
            _demand_same(run, subject, scenario, here)
    return found


def state(earlier: Runs, now: Result, bars: Bars) -> Statement:
    """Hold a new run against earlier ones of ``find``."""
    said = judge([level(each) for each in earlier], level(now), bars)
    if not now.ended and summarize(now).valid:
        return said
    return msgspec.structs.replace(said, decision="inconclusive", reason="this run is invalid")


def judge(earlier: Sequence[float], now: float, bars: Bars) -> Statement:
    """Decide by the levels of runs alone.

    Args:
        earlier: Levels of at least one run.
        now: Of the new one.
        bars: What the interval is held against.
    """
    number = len(earlier)
    center = now - fmean(earlier)
    if number < 2:
        few: Decision = "inconclusive"
        return Statement(few, _exp(center), None, 1 - ERROR, number, "too few earlier runs")
    half = t_quantile(number - 1, 1 - ERROR) * stdev(earlier) * math.sqrt(1 + 1 / number)
    interval = (_exp(center - half), _exp(center + half))
    if number < FEWEST:
        said = Statement("inconclusive", _exp(center), interval, 1 - ERROR, number)
        return msgspec.structs.replace(said, reason="too few earlier runs")
    decision = decide(center - half, center + half, bars)
    return Statement(decision, _exp(center), interval, 1 - ERROR, number)


def level(result: Result) -> float:
    """Return a run's log time: the mean over processes of the log 25th percentile of each."""
    return fmean(math.log(float(np.percentile(each, LOW))) for each in _times(result))


def _times(result: Result) -> list[Sequence[float]]:
    """Return the seconds of each process, by the clock to compare by; of cold starts one each."""
    if result.scenario.name == "cold":
        return [[each.opened.cold] for each in result.processes if each.opened]
    clocked = (getattr(each.samples, result.clock) for each in result.processes)
    return [seconds for seconds in clocked if seconds]


def _of(subject: Subject, earlier: Sequence[Result], *, alone: bool) -> Runs:
    """Return the runs of a subject: those of its path, or all where there is one on each side."""
    names = {each.model for each in earlier}
    name = names.copy().pop() if alone and len(names) == 1 else subject.path
    if name not in names:
        raise RequestError(
            "E-BASELINE",
            f"no baseline holds {subject.path!r}",
            hint=nearest(subject.path, names),
        )
    return tuple(each for each in earlier if each.model == name)


def _demand_same(run: Result, subject: Subject, scenario: Scenario, here: dict[str, Any]) -> None:
    """Refuse a run that was measured otherwise, and one that describes nothing."""
    told: dict[str, tuple[object, object]] = {
        **{key: (run.machine.get(key), here.get(key)) for key in MACHINE},
        "governor": (run.before.governor, surroundings.look().governor),
        "scenario": (run.scenario, scenario),
        "threads": (run.options.threads, subject.options.threads),
        "provider": (run.options.provider, subject.options.provider),
        "inputs": (run.inputs, subject.inputs),
        "signature": (run.signature, subject.signature),
    }
    different = [_difference(name, *pair) for name, pair in told.items() if pair[0] != pair[1]]
    if different:
        raise RequestError(
            "E-BASELINE",
            f"the baseline of {run.model!r} was measured otherwise: {'; '.join(different)}",
            hint="measure a baseline here, the same way: edgepack bench MODEL -o FILE",
        )
    unusable = [
        each.cause for each in summarize(run).cautions if each.invalid or each.name == "ended"
    ]
    times = _times(run)
    if unusable or not times or min(map(min, times)) <= 0:
        why = unusable[0] if unusable else "it holds no timed run"
        raise RequestError(
            "E-BASELINE",
            f"the baseline of {run.model!r} describes nothing: {why}",
            hint="leave that file out",
        )


def _difference(name: str, was: object, now: object) -> str:
    if isinstance(was, list) and isinstance(now, list):
        lost, new = (sorted({*a} - {*b}) for a, b in ((was, now), (now, was)))
        changes = [
            f"{word} {' '.join(some)}" for word, some in (("without", lost), ("with", new)) if some
        ]
        return f"{name} now {', '.join(changes)}"
    return f"{name} was {_text(was)}, is {_text(now)}"


def _text(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return msgspec.json.encode(value).decode()
    return repr(value)


def _exp(value: float) -> float:
    return math.exp(min(max(value, -700.0), 700.0))
