"""The timing loops: closed, where a request waits for the last one, and open, where it does not.

An open loop draws its arrivals beforehand and times each request from when it was due, so that a
slow run also costs those that queue behind it. A closed loop would hide them ("coordinated
omission"), and understates p99 of a busy server several times.
"""

import random
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from edgepack.bench.measured import Samples

Clock = Callable[[], int]

_EVERY = 250_000_000  # ns between two reports of what was measured: what an interrupt may cost
_LOOK = 100_000  # ns between two counts of context switches
_SPARE = 2_000_000  # ns of idling that a report of an open loop needs
_SPIN = 200_000  # ns before an arrival: a sleep may oversleep by about as much


@dataclass(slots=True)
class Columns:
    """Samples as they are taken: arrays of numbers, no object per sample."""

    start: "array[int]" = field(default_factory=lambda: array("q"))
    wall: "array[int]" = field(default_factory=lambda: array("q"))
    cpu: "array[int]" = field(default_factory=lambda: array("q"))
    switches: "array[int]" = field(default_factory=lambda: array("q"))
    due: "array[int]" = field(default_factory=lambda: array("q"))

    def freeze(self, origin: int) -> Samples:
        """Return the samples in seconds, and begin anew."""
        kept = Samples(
            start=_seconds(self.start, origin),
            wall=_seconds(self.wall),
            cpu=_seconds(self.cpu),
            switches=tuple(self.switches),
            due=_seconds(self.due, origin),
        )
        for column in (self.start, self.wall, self.cpu, self.switches, self.due):
            del column[:]
        return kept


def _seconds(column: "array[int]", origin: int = 0) -> tuple[float, ...]:
    return tuple(((np.array(column) - origin) / 1e9).tolist())


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read around each run.

    Attributes:
        cpu: CPU time so far, in ns.
        switches: Involuntary context switches so far.
    """

    cpu: Clock
    switches: Clock


@dataclass(frozen=True, slots=True)
class Limit:
    """When a loop ends: after so many runs, or so many seconds."""

    runs: int
    seconds: float


def closed(run: Callable[[int], object], gauges: Gauges, limit: Limit) -> Iterator[Samples]:
    """Time one run after the other; yields what was measured about four times a second.

    Context switches are counted every 0.1 ms at most: a count takes longer than a tiny run leaves
    room for, and a run that was interrupted takes longer than that.

    Args:
        run: Runs sample number ``n``.
        gauges: What is read around each run.
        limit: When to end.
    """
    cpu_clock, switch_count, clock = gauges.cpu, gauges.switches, time.perf_counter_ns
    columns, origin = Columns(), clock()
    end, report = origin + int(limit.seconds * 1e9), origin + _EVERY
    look, switches = origin, switch_count()
    for number in range(limit.runs):
        cpu, start = cpu_clock(), clock()
        run(number)
        stop = clock()
        columns.cpu.append(cpu_clock() - cpu)
        columns.start.append(start)
        columns.wall.append(stop - start)
        if stop > look:
            before, switches = switches, switch_count()
            columns.switches.append(switches - before)
            look = stop + _LOOK
        else:
            columns.switches.append(0)
        if stop > report:
            yield columns.freeze(origin)
            report, switches = clock() + _EVERY, switch_count()
        if stop > end:
            break
    yield columns.freeze(origin)


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Yield the seconds at which requests of a Poisson process are due, forever."""
    rng, due = random.Random(seed), 0.0  # noqa: S311 - arrivals, not a secret
    while True:
        due += rng.expovariate(rate)
        yield due


def open_(
    run: Callable[[int], object], gauges: Gauges, limit: Limit, due: Iterator[float]
) -> Iterator[Samples]:
    """Time requests from when they are due; those that come meanwhile wait in a queue.

    Args:
        run: Runs sample number ``n``.
        gauges: What is read around each run.
        limit: When to end; time counts arrivals, so that a queue is emptied.
        due: Seconds, ascending.
    """
    cpu_clock, switch_count, clock = gauges.cpu, gauges.switches, time.perf_counter_ns
    columns, origin = Columns(), clock()
    report = origin + _EVERY
    for number, at in zip(range(limit.runs), due, strict=False):
        if at > limit.seconds:
            break
        when = origin + int(at * 1e9)
        if clock() > report and when - clock() > _SPARE:
            yield columns.freeze(origin)
            report = clock() + _EVERY
        _wait(when)
        switches, cpu, start = switch_count(), cpu_clock(), clock()
        run(number)
        stop = clock()
        columns.cpu.append(cpu_clock() - cpu)
        columns.switches.append(switch_count() - switches)
        columns.start.append(start)
        columns.wall.append(stop - start)
        columns.due.append(when)
    yield columns.freeze(origin)


def _wait(when: int) -> None:
    """Sleep until shortly before, then watch the clock."""
    if (left := when - time.perf_counter_ns() - _SPIN) > 0:
        time.sleep(left * 1e-9)
    while time.perf_counter_ns() < when:
        pass
