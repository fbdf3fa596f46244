"""Is B slower than A? A first, simple verdict: fresh session pairs, interleaved rounds.

Each session carries its own speed (memory layout), so more rounds never average that away: the
session pair is the unit, and a t-interval over pairs is the verdict's.
Source: Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", section 6.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepack.base.stats import t_quantile
from edgepack.bench.sampler import take

TOLERATE = 0.005
"""A slow-down that nobody minds, as a fraction."""

_LOOKS = (6, 12, 20)
"""Numbers of session pairs at which the verdict may be given; the error is split among them."""

_ROUNDS = 20
_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long B takes, as a multiple of A.

    Attributes:
        ratio: Geometric mean over session pairs of the ratio of 25th percentiles.
        interval: 95 % interval of ``ratio``, split over the planned looks.
        verdict: ``not slower`` (the interval ends below 1 + ``TOLERATE``), ``slower`` (it begins
            above), or ``inconclusive``.
        clock: ``cpu`` with one thread, else ``wall``.
        log_ratios: One per session pair; everything else can be computed from them.
    """

    ratio: float
    interval: tuple[float, float]
    verdict: str
    clock: str
    threads: int
    log_ratios: tuple[float, ...]


Opener = Callable[[], Callable[[], object]]
"""Opens a fresh session and returns its one inference."""


def compare(a: Opener, b: Opener, *, threads: int, seed: int = 0) -> Comparison:
    """Compare two models at the threads that ship, with at most 20 session pairs."""
    clock = "cpu" if threads == 1 else "wall"
    rng, ratios = random.Random(seed), list[float]()  # noqa: S311 - an order, not a secret
    result: Comparison | None = None
    for look in _LOOKS:
        while len(ratios) < look:
            ratios.append(_pair(a, b, rng, threads))
        result = _judge(ratios, clock, threads)
        if result.verdict != "inconclusive":
            break
    assert result is not None
    return result


def _pair(a: Opener, b: Opener, rng: random.Random, threads: int) -> float:
    """Open both models in random order, interleave their rounds, return one log ratio."""
    order = [("a", a), ("b", b)]
    rng.shuffle(order)
    runs = {name: opener() for name, opener in order}
    for run in runs.values():
        take(run, threads=threads, warmup=3, runs=1)
    samples: dict[str, list[float]] = {"a": [], "b": []}
    for _ in range(_ROUNDS):
        rng.shuffle(order)
        for name, _opener in order:
            timing = take(runs[name], threads=threads, warmup=1, runs=1)
            samples[name] += timing.cpu if threads == 1 else timing.wall
    low = {name: float(np.percentile(values, 25)) for name, values in samples.items()}
    return float(np.log(low["b"] / low["a"]))


def _judge(log_ratios: list[float], clock: str, threads: int) -> Comparison:
    values = np.array(log_ratios)
    quantile = t_quantile(len(values) - 1, 1 - _ERROR / len(_LOOKS))
    half = quantile * values.std(ddof=1) / np.sqrt(len(values))
    low, mid, high = (float(np.exp(values.mean() + d)) for d in (-half, 0.0, half))
    if high < 1 + TOLERATE:
        verdict = "not slower"
    elif low > 1 + TOLERATE:
        verdict = "slower"
    else:
        verdict = "inconclusive"
    return Comparison(mid, (low, high), verdict, clock, threads, tuple(log_ratios))
