"""The speed gate: where a device of the target is at hand, int8 must not be slower than float."""

from collections.abc import Callable

from edgepack.bench.comparison import Comparison, compare
from edgepack.bench.sampler import take
from edgepack.runtime import machine
from edgepack.runtime.session import Options, Session
from edgepack.spec.manifest import Runtime
from edgepack.spec.signature import Sample


def not_a_device(runtime: Runtime) -> str:
    """Return why this machine is no device of the target, or an empty string."""
    return machine.missing(runtime) or ""


def measure(float_: bytes, shipped: bytes, sample: Sample, threads: int) -> Comparison:
    """Compare the two models on this machine, at the threads that ship.

    Args:
        float_: The float model.
        shipped: The candidate.
        sample: A full sample, state included.
        threads: Threads of one operator.
    """
    options = Options(threads=threads)
    return compare(
        _opener(float_, options, sample), _opener(shipped, options, sample), threads=threads
    )


def latency(model: bytes, sample: Sample, threads: int) -> float:
    """Return the 90th percentile of wall time over 100 runs after warm-up, in seconds."""
    session = Session(model, Options(threads=threads))
    timing = take(lambda: session.run(sample), threads=threads, warmup=10, runs=100)
    return timing.percentiles()["wall"]["p90"]


def _opener(model: bytes, options: Options, sample: Sample) -> Callable[[], Callable[[], object]]:
    def open_session() -> Callable[[], object]:
        session = Session(model, options)
        return lambda: session.run(sample)

    return open_session
