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


def test_every_context_switch_is_counted_once_and_not_with_every_tiny_run() -> None:
    looked = itertools.count()
    gauges = Gauges(time.thread_time_ns, lambda: next(looked))  # one switch between two looks
    parts = list(loops.closed(lambda _: None, gauges, Limit(2000, 60.0)))
    looks = next(looked)
    assert sum(sum(parts, Samples()).switches) == looks - len(parts) < 1000
    slow = sum(loops.closed(lambda _: time.sleep(2e-4), gauges, Limit(5, 60.0)), Samples())
    assert slow.switches == (1,) * 5


def test_times_are_those_that_the_clock_gave_to_the_nanosecond() -> None:
    columns = loops.Columns()
    for column in (columns.start, columns.wall, columns.cpu):
        column.extend([1_000_000_123, 2_345_678_901])
    columns.switches.extend([0, 3])
    frozen = columns.freeze(origin=1_000_000_000)
    assert frozen.start == (1.23e-7, 1.345678901)
    assert frozen.wall == frozen.cpu == (1.000000123, 2.345678901)
    assert (frozen.switches, frozen.due) == ((0, 3), ())
    assert columns.freeze(0) == Samples()


def test_a_closed_loop_ends_when_its_time_is_over() -> None:
    found = sum(loops.closed(lambda _: time.sleep(0.01), GAUGES, Limit(10_000, 0.05)), Samples())
    assert 1 <= len(found.wall) <= 10
