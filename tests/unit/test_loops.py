import itertools
import time

import numpy as np

from edgepack.bench import loops
from edgepack.bench.loops import Gauges, Limit
from edgepack.bench.measured import Samples

GAUGES = Gauges(time.thread_time_ns, lambda: 0)


def test_arrivals_are_a_poisson_process_that_the_seed_alone_decides() -> None:
    drawn = list(itertools.islice(loops.arrivals(100.0, 3), 20_000))
    again = list(itertools.islice(loops.arrivals(100.0, 3), 20_000))
    gaps = np.diff(drawn)
    assert drawn == again
    assert abs(gaps.mean() - 0.01) < 3 * 0.01 / np.sqrt(len(gaps))
    assert abs(gaps.std() / gaps.mean() - 1) < 0.03  # exponential: as wide as long


def test_a_request_that_queues_is_timed_from_when_it_was_due() -> None:
    due = [0.0, 0.001, 0.002]
    runs = loops.open_(lambda _: time.sleep(0.02), GAUGES, Limit(3, 1.0), iter(due))
    found = sum(runs, Samples())
    assert found.due == tuple(due)
    assert min(found.wall) >= 0.02
    assert found.latency[2] >= 3 * 0.02 - 0.002  # two whole runs before it, and its own


def test_no_request_is_run_before_it_is_due() -> None:
    runs = loops.open_(lambda _: None, GAUGES, Limit(5, 1.0), iter([0.01 * n for n in range(5)]))
    found = sum(runs, Samples())
    assert all(start >= due for start, due in zip(found.start, found.due, strict=True))


def test_a_closed_loop_ends_after_its_runs_and_hands_out_what_it_has_meanwhile() -> None:
    parts = list(loops.closed(lambda _: time.sleep(0.06), GAUGES, Limit(8, 60.0)))
    assert len(parts) > 1
    assert sum(len(each.wall) for each in parts) == 8
    assert sum(parts, Samples()).latency == sum(parts, Samples()).wall


def test_a_closed_loop_ends_when_its_time_is_over() -> None:
    found = sum(loops.closed(lambda _: time.sleep(0.01), GAUGES, Limit(10_000, 0.05)), Samples())
    assert 1 <= len(found.wall) <= 10
