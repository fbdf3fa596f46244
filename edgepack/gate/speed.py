"""The speed gate: where a device of the target is at hand, int8 must not be slower than float."""

from dataclasses import dataclass

from edgepack.base.errors import RequestError
from edgepack.base.files import sha256
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.record import Run
from edgepack.bench.rivals import Rivals, arm
from edgepack.bench.sampler import take
from edgepack.bench.verdict import Bars, Groups, Verdict, judge
from edgepack.runtime import machine
from edgepack.runtime.session import Options, Session
from edgepack.spec.manifest import Runtime
from edgepack.spec.signature import Sample

_BARS = Bars()
_BUDGETS = (30.0, 180.0)  # seconds; the second is for models too slow for the first
_ANYTHING = (0.0, 1e9)  # an interval that excludes nothing
_ERROR = 0.05


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
    """

    ratio: float
    interval: tuple[float, float]
    verdict: str
    clock: str
    threads: int
    log_ratios: tuple[tuple[float, ...], ...]


def not_a_device(runtime: Runtime) -> str:
    """Return why this machine is no device of the target, or an empty string."""
    return machine.missing(runtime) or ""


def measure(float_: bytes, shipped: bytes, sample: Sample, threads: int) -> Comparison:
    """Compare the two models on this machine, at the threads that ship.

    Models too slow to compare in the time that a build may spend on it are inconclusive.

    Args:
        float_: The float model.
        shipped: The candidate.
        sample: A full sample, state included.
        threads: Threads of one operator.
    """
    options = Options(threads=threads)
    a = arm("float", float_, sha256(float_), options)
    b = arm("candidate", shipped, sha256(shipped), options)
    rivals = Rivals(a, b, [sample], "a sample that was kept out of calibration")
    found = _compare(rivals)
    if found is None:
        return Comparison(1.0, _ANYTHING, "inconclusive", "none", threads, ())
    run, verdict = found
    return Comparison(
        ratio=verdict.ratio,
        interval=verdict.interval,
        verdict=_word(verdict),
        clock=run.clock,
        threads=threads,
        log_ratios=tuple(map(tuple, run.log_ratios)),
    )


def latency(model: bytes, sample: Sample, options: Options) -> float:
    """Return the 90th percentile of wall time over 100 runs after warm-up, in seconds."""
    session = Session(model, options)
    timing = take(lambda: session.run(sample), threads=options.threads, warmup=10, runs=100)
    return timing.percentiles()["wall"]["p90"]


def _compare(rivals: Rivals) -> tuple[Run, Verdict] | None:
    """Compare within the first budget that holds enough processes, None where none does."""
    for budget in _BUDGETS:
        try:
            return Contest(rivals, Terms(_until_seen, budget=budget, error=_ERROR)).compare()
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
    return (
        f"{name} takes {result.ratio:.3f} [{low:.3f}, {high:.3f}] of the time of float32 "
        f"({result.clock}, {result.threads} threads): {result.verdict}"
    )
