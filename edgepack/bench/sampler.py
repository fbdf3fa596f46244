"""Raw samples of wall and CPU time of one function."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Timing:
    """Raw samples, in seconds, in the order in which they were taken.

    Attributes:
        wall: By the monotonic clock.
        cpu: CPU time of this thread where one thread runs the model, else of the process.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Return p50, p90 and p99 of both clocks, in seconds."""
        return {
            clock: {f"p{p}": float(np.percentile(samples, p)) for p in PERCENTILES}
            for clock, samples in (("wall", self.wall), ("cpu", self.cpu))
        }


def take(run: Callable[[], object], *, threads: int, warmup: int, runs: int) -> Timing:
    """Call ``run`` until it is warm, then time each of ``runs`` calls.

    Args:
        run: One inference.
        threads: Threads that the model computes on; with one, CPU time is this thread's.
        warmup: Untimed calls: the first one allocates and packs.
        runs: Timed calls.
    """
    clock = time.thread_time if threads == 1 else time.process_time
    for _ in range(warmup):
        run()
    wall, cpu = [], []
    for _ in range(runs):
        start, busy = time.perf_counter(), clock()
        run()
        cpu.append(clock() - busy)
        wall.append(time.perf_counter() - start)
    return Timing(tuple(wall), tuple(cpu))
