"""The child process of a measurement: opens one session and runs one scenario.

``python -m edgepack.bench.worker`` says what it measured while it measures, see ``answer``, so that
whatever ends it early loses little.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgepack.bench import loops, operators, sensors
from edgepack.bench.answer import Line, answer, load, open_session, switch_counter
from edgepack.bench.measured import Opened, Samples
from edgepack.bench.record import Options
from edgepack.bench.scenario import Cold, Scenario, Server
from edgepack.runtime.session import Session, version
from edgepack.spec.signature import Sample

_PROFILED = (operators.WARMUP + 50, 5.0)
"""Runs and seconds of a profile, at most."""


class Job(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        samples: An ``.npz`` file, arrays by position, in the order of ``names``.
        scenario: None to open the model and say what it takes.
        rate: Of a server's arrivals.
        seed: Of a server's arrivals.
        memory: Only run the model a few times and tell the memory that took.
        profile: Only run the model a few times, under the runtime's profiler, which leaves a trace.
    """

    model: str
    options: Options
    samples: str = ""
    names: tuple[str, ...] = ()
    scenario: Scenario | None = None
    limit: tuple[int, float] = (0, 0.0)
    rate: float = 0.0
    memory: bool = False
    profile: bool = False


def _work(job: Job) -> Iterator[Line]:
    yield Line(doing="importing the runtime")
    start = time.perf_counter()
    version()
    importing = time.perf_counter() - start
    idle = sensors.high_water()
    yield Line(doing="opening the model")
    model = Path(job.model).read_bytes()
    start = time.perf_counter()
    session = open_session(model, job.options, Path("profile") if job.profile else None)
    opening = time.perf_counter() - start
    yield Line(inputs=session.inputs, outputs=session.outputs)
    if not job.samples:
        return
    samples = load(job.samples, job.names)
    yield Line(doing="running the model")
    start = time.perf_counter()
    session.run(samples[0])
    yield Line(opened=Opened(importing, opening, time.perf_counter() - start))
    if job.profile:
        _profile(session, samples)
    elif job.memory:
        yield _memory(session, samples, idle)
    elif not (job.scenario is None or isinstance(job.scenario, Cold)):
        yield from (Line(samples=each) for each in _timed(job, job.scenario, session, samples))


def _memory(session: Session, samples: list[Sample], idle: int | None) -> Line:
    for sample in samples:
        session.run(sample)
    most = sensors.high_water()
    return Line() if most is None or idle is None else Line(memory={"model": most, "runtime": idle})


def _profile(session: Session, samples: list[Sample]) -> None:
    """Run warm; the runtime writes what each operator took."""
    end = time.perf_counter() + _PROFILED[1]
    for number in range(_PROFILED[0]):
        session.run(samples[number % len(samples)])
        if number > operators.WARMUP and time.perf_counter() > end:
            break
    session.end_profile().rename(operators.TRACE)


def _timed(
    job: Job, scenario: Scenario, session: Session, samples: list[Sample]
) -> Iterator[Samples]:
    """Warm up and time; yields what was measured from time to time."""
    one_thread = job.options.threads == 1

    bound = [session.bound(sample) for sample in samples]

    def run(number: int) -> object:
        return bound[number % len(bound)]()

    for number in range(scenario.warmup):
        session.run(samples[number % len(samples)])
    gauges = loops.Gauges(_cpu(one_thread=one_thread), switch_counter(one_thread=one_thread))
    gc.collect()
    gc.disable()
    limit = loops.Limit(*job.limit)
    if isinstance(scenario, Server):
        due = loops.arrivals(job.rate, scenario.seed)
        yield from loops.open_(run, gauges, limit, due)
    else:
        yield from loops.closed(run, gauges, limit)


def _cpu(*, one_thread: bool) -> Callable[[], int]:
    return time.thread_time_ns if one_thread else time.process_time_ns


if __name__ == "__main__":
    sys.exit(answer(Job, _work))
