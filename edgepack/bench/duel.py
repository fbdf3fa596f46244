"""The child process of a comparison: fresh pairs of sessions, timed in shuffled turns.

``python -m edgepack.bench.duel`` says each pair when it is done, see ``answer``; nothing is
written while it times.
"""

import gc
import os
import random
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edgepack.bench.answer import Line, answer, load, open_session, switch_counter
from edgepack.bench.bursts import Bursts
from edgepack.bench.record import Options, Pair, Samples
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample

WARMUP = 3
"""Untimed runs of a fresh session: the first one allocates and packs."""

Name = Literal["a", "b"]


class Side(msgspec.Struct, frozen=True):
    """A model file and how to open it."""

    model: str
    options: Options


class Job(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        samples: An ``.npz`` file, arrays by position: those of sample 0 in the order of
            ``names``, then those of sample 1.
        names: The inputs.
        one_thread: Whether CPU time is that of this thread.
        core: The core to stay on; None for the scheduler's choice.
    """

    a: Side
    b: Side
    samples: str
    names: tuple[str, ...]
    pairs: int
    rounds: int
    one_thread: bool
    realtime: bool
    core: int | None
    seed: int


class Duel:
    """All pairs of one process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rng = random.Random(job.seed)  # noqa: S311 - an order, not a secret
        self._samples = load(job.samples, job.names)
        self._cpu = time.thread_time_ns if job.one_thread else time.process_time_ns
        self._switches = switch_counter(one_thread=job.one_thread)

    def fight(self) -> Iterator[Line]:
        """Measure every pair; who is opened first takes turns, for it may matter."""
        if self._job.core is not None:
            os.sched_setaffinity(0, {self._job.core})
        gc.disable()
        start = self._rng.randrange(2)
        orders: tuple[tuple[Name, Name], ...] = (("a", "b"), ("b", "a"))
        with Bursts(wanted=self._job.realtime) as bursts:
            for number in range(self._job.pairs):
                yield from self._pair(orders[(start + number) % 2], bursts)

    def _pair(self, order: tuple[Name, Name], bursts: Bursts) -> Iterator[Line]:
        start = time.perf_counter()
        sessions: dict[Name, Session] = {}
        for name in order:
            sessions[name] = yield from self._fresh(name)
        opening = time.perf_counter() - start
        taken: dict[Name, list[tuple[int, int, int]]] = {"a": [], "b": []}
        for number, turn in enumerate(self._turns()):
            sample = self._samples[number % len(self._samples)]
            for name in turn:
                bursts.turn()
                taken[name].append(self._time(sessions[name], sample))
        bursts.rest()
        sessions.clear()
        gc.collect()
        sides = (_columns(taken[name]) for name in ("a", "b"))
        yield Line(pair=Pair(order[0], round(opening, 6), *sides))

    def _fresh(self, name: Name) -> Generator[Line, None, Session]:
        yield Line(doing=f"opening {name.upper()}")
        side = self._job.a if name == "a" else self._job.b
        session = open_session(Path(side.model).read_bytes(), side.options)
        yield Line(doing=f"running {name.upper()}")
        for number in range(WARMUP):
            session.run(self._samples[number % len(self._samples)])
        return session

    def _turns(self) -> list[tuple[Name, Name]]:
        """Return who goes first in each round: each as often as the other, in random order."""
        orders: tuple[tuple[Name, Name], ...] = (("a", "b"), ("b", "a"))
        turns = [orders[number % 2] for number in range(self._job.rounds)]
        self._rng.shuffle(turns)
        return turns

    def _time(self, session: Session, sample: Sample) -> tuple[int, int, int]:
        """Run once untimed, which brings this model back into the caches, then once timed."""
        session.run(sample)
        switches, cpu, wall = self._switches(), self._cpu(), time.perf_counter_ns()
        session.run(sample)
        wall = time.perf_counter_ns() - wall
        return wall, self._cpu() - cpu, self._switches() - switches


def _columns(taken: list[tuple[int, int, int]]) -> Samples:
    wall, cpu, switches = zip(*taken, strict=True)
    return Samples(
        tuple(round(ns * 1e-9, 9) for ns in wall),
        tuple(round(ns * 1e-9, 9) for ns in cpu),
        switches,
    )


if __name__ == "__main__":
    sys.exit(answer(Job, lambda job: Duel(job).fight()))
