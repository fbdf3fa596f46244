"""What measuring costs: a run in the timing loop, beside one in a bare loop; and judging."""

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import mlp

from edgepack.bench import loops
from edgepack.bench.percentile import percentiles
from edgepack.bench.verdict import Bars, judge
from edgepack.runtime.session import Options, Session

RUNS = 100

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(mlp(16, 16, 1).SerializeToString(), Options(threads=1))


def test_a_hundred_runs_in_a_bare_loop(benchmark: Benchmark, session: Session) -> None:
    sample = {"x": np.ones((1, 16), np.float32)}

    def bare() -> None:
        for _ in range(RUNS):
            session.run(sample)

    benchmark(bare)


def test_a_hundred_runs_in_the_timing_loop(benchmark: Benchmark, session: Session) -> None:
    sample = {"x": np.ones((1, 16), np.float32)}
    gauges = loops.Gauges(
        time.thread_time_ns, lambda: resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    )

    def timed() -> int:
        parts = loops.closed(lambda _: session.run(sample), gauges, loops.Limit(RUNS, 60.0))
        return sum(len(part.wall) for part in parts)

    assert benchmark(timed) == RUNS


def test_percentiles_of_ten_thousand_samples(benchmark: Benchmark) -> None:
    seconds = np.random.default_rng(0).gamma(4.0, 0.001, 10_000).tolist()
    assert benchmark(percentiles, seconds)


def test_a_verdict_over_forty_processes(benchmark: Benchmark) -> None:
    ratios = np.random.default_rng(0).normal(0.0, 0.01, (40, 12)).tolist()
    assert benchmark(judge, ratios, 0.0025, Bars()).processes == 40
