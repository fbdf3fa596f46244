"""The speed gate: where a device of the target is at hand, int8 must not be slower than float."""

from dataclasses import dataclass

import numpy as np

from edgepack.base.errors import RequestError
from edgepack.base.files import sha256
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.record import Run
from edgepack.bench.rivals import Rivals, arm
from edgepack.bench.sampler import take
from edgepack.bench.verdict import Bars, Groups, Verdict, judge
from edgepack.devices import Opened, Turns
from edgepack.gate.place import Place
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample

_BARS = Bars()
_BUDGETS = (30.0, 180.0)  # seconds; the second is for models too slow for the first
_ANYTHING = (0.0, 1e9)  # an interval that excludes nothing
_ERROR = 0.05
_WARMUP, _RUNS = 10, 100  # of the 90th percentile
_SILENCE = 600.0  # seconds that these may take on a device


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long the candidate takes, as a multiple of float.

    Attributes:
        ratio: As ``Verdict.ratio``.
        interval: Of ``ratio``, 95 %, all looks together.
        verdict: ``not slower`` where the interval ends below what is tolerated, ``slower`` where
            it begins above, else ``inconclusive``.
        clock: ``cpu`` with one thread, else ``wall``.
        log_ratios: One per pair of sessions, grouped by process.
        device: Where it was measured.
    """

    ratio: float
    interval: tuple[float, float]
    verdict: str
    clock: str
    threads: int
    log_ratios: tuple[tuple[float, ...], ...]
    device: str = "local"


def measure(float_: bytes, shipped: bytes, sample: Sample, place: Place) -> Comparison:
    """Compare the two models at the threads that ship.

    Models too slow to compare in the time that a build may spend on it are inconclusive.

    Args:
        float_: The float model.
        shipped: The candidate.
        sample: A full sample, state included.
        place: Where.

    Raises:
        MachineError: The device there broke.
    """
    threads = place.threads
    options = Options(threads=threads)
    a = arm("float", float_, sha256(float_), options)
    b = arm("candidate", shipped, sha256(shipped), options)
    rivals = Rivals(a, b, [sample], "a sample that was kept out of calibration")
    found = _compare(rivals, place)
    if found is None:
        return Comparison(1.0, _ANYTHING, "inconclusive", "none", threads, (), place.name)
    run, verdict = found
    return Comparison(
        ratio=verdict.ratio,
        interval=verdict.interval,
        verdict=_word(verdict),
        clock=run.clock,
        threads=threads,
        log_ratios=tuple(map(tuple, run.log_ratios)),
        device=place.name,
    )


def latency(model: bytes, sample: Sample, options: Options, place: Place) -> float:
    """Return the 90th percentile of wall time over 100 runs after warm-up, in seconds.

    Raises:
        MachineError: The device there broke.
    """
    if place.device is None:
        session, threads = Session(model, options), options.threads
        timing = take(lambda: session.run(sample), threads=threads, warmup=_WARMUP, runs=_RUNS)
        return float(np.percentile(timing.wall, 90))
    taken: list[list[str]] = []
    opened = Opened(model, options.threads, options.level, options.entries)
    with place.device.timer([opened], [sample]) as timer:
        timer.time(Turns([("a", f"{_RUNS}a")], warmup=_WARMUP), taken.append, _SILENCE)
    return float(np.percentile([int(words[1]) * 1e-9 for words in taken if words[0] == "a"], 90))


def _compare(rivals: Rivals, place: Place) -> tuple[Run, Verdict] | None:
    """Compare within the first budget that holds enough processes, None where none does."""
    for budget in _BUDGETS:
        try:
            terms = Terms(_until_seen, budget=budget, error=_ERROR)
            return Contest(rivals, terms, ground=place.ground).compare()
        except RequestError:  # the budget cannot hold two processes
            continue
    return None


def _until_seen(groups: Groups, error: float) -> tuple[Verdict, bool]:
    """Judge a look; it is enough where one end of the interval answers the gate's question."""
    verdict = judge(groups, error, _BARS)
    return verdict, _word(verdict) != "inconclusive"


def _word(verdict: Verdict) -> str:
    """Say what the gate asks: stricter than ``no difference``, content with less than faster."""
    low, high = verdict.interval
    if high < 1 + _BARS.tolerate:
        return "not slower"
    return "slower" if low > 1 + _BARS.tolerate else "inconclusive"


def sentence(name: str, result: Comparison) -> str:
    """Say what a clock said of the candidate called ``name``."""
    low, high = result.interval
    where = "" if result.device == "local" else f", {result.device}"
    return (
        f"{name} takes {result.ratio:.3f} [{low:.3f}, {high:.3f}] of the time of float32 "
        f"({result.clock}, {result.threads} threads{where}): {result.verdict}"
    )
