"""The child process of a comparison: fresh pairs of sessions, timed in shuffled turns.

``python -m edgepack.bench.duel`` reads one job as JSON on stdin and writes lines of JSON to
stdout: what it is about to do, then its answer. Whatever else is printed in this process goes to
stderr, so that a chatty runtime cannot spoil the answer; a crash ends this process and no other.
"""

import contextlib
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec
import numpy as np

from edgepack.base.errors import EdgepackError
from edgepack.bench.bursts import Bursts
from edgepack.bench.record import Options, Pair, Samples
from edgepack.runtime.session import Options as SessionOptions
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample, TensorSpec

WARMUP = 3
"""Untimed runs of a fresh session: the first one allocates and packs."""

Name = Literal["a", "b"]


class Side(msgspec.Struct, frozen=True):
    """A model file and how to open it."""

    model: str
    options: Options


class Job(msgspec.Struct, frozen=True):
    """What to do; with no pairs, only to say what the models take and return.

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


class Face(msgspec.Struct, frozen=True):
    """What a model takes and returns, as the runtime sees it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Failure(msgspec.Struct, frozen=True):
    """An error of ours, on its way to the parent."""

    kind: str
    code: str
    message: str
    hint: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line on stdout: what begins, or how it ended."""

    doing: str = ""
    faces: dict[Name, Face] | None = None
    pairs: tuple[Pair, ...] | None = None
    failure: Failure | None = None


def main() -> int:
    """Do the one job that stdin holds."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
        try:
            _say(out, Duel(job, out).fight() if job.pairs else _describe(job, out))
        except EdgepackError as error:
            failure = Failure(type(error).__name__, error.code, str(error), error.hint)
            _say(out, Line(failure=failure))
    return 0


def _say(out: TextIO, line: Line) -> None:
    out.write(msgspec.json.encode(line).decode() + "\n")
    out.flush()


def _describe(job: Job, out: TextIO) -> Line:
    faces: dict[Name, Face] = {}
    sides: tuple[tuple[Name, Side], ...] = (("a", job.a), ("b", job.b))
    for name, side in sides:
        _say(out, Line(doing=f"opening {name.upper()}"))
        session = _open(side)
        faces[name] = Face(session.inputs, session.outputs)
    return Line(faces=faces)


def _open(side: Side) -> Session:
    known: dict[str, Any] = msgspec.structs.asdict(side.options)
    return Session(Path(side.model).read_bytes(), SessionOptions(**known))


class Duel:
    """All pairs of one process."""

    def __init__(self, job: Job, out: TextIO) -> None:
        self._job = job
        self._out = out
        self._rng = random.Random(job.seed)  # noqa: S311 - an order, not a secret
        self._samples = _load(job)
        self._cpu = time.thread_time_ns if job.one_thread else time.process_time_ns
        self._switches = switch_counter(one_thread=job.one_thread)

    def fight(self) -> Line:
        """Measure every pair; who is opened first takes turns, for it may matter."""
        if self._job.core is not None:
            os.sched_setaffinity(0, {self._job.core})
        gc.disable()
        start = self._rng.randrange(2)
        orders: tuple[tuple[Name, Name], ...] = (("a", "b"), ("b", "a"))
        with Bursts(wanted=self._job.realtime) as bursts:
            pairs = [
                self._pair(orders[(start + number) % 2], bursts)
                for number in range(self._job.pairs)
            ]
        return Line(pairs=tuple(pairs))

    def _pair(self, order: tuple[Name, Name], bursts: Bursts) -> Pair:
        start = time.perf_counter()
        sessions = {name: self._fresh(name) for name in order}
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
        return Pair(order[0], round(opening, 6), _columns(taken["a"]), _columns(taken["b"]))

    def _fresh(self, name: Name) -> Session:
        self._announce(f"opening {name.upper()}")
        session = _open(self._job.a if name == "a" else self._job.b)
        self._announce(f"running {name.upper()}")
        for number in range(WARMUP):
            session.run(self._samples[number % len(self._samples)])
        return session

    def _announce(self, doing: str) -> None:
        _say(self._out, Line(doing=doing))

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


def _load(job: Job) -> list[Sample]:
    with np.load(job.samples, allow_pickle=False) as file:
        arrays = [file[f"arr_{number}"] for number in range(len(file.files))]
    width = len(job.names)
    return [
        dict(zip(job.names, arrays[start : start + width], strict=True))
        for start in range(0, len(arrays), width)
    ]


def switch_counter(*, one_thread: bool) -> Callable[[], int]:
    """Return what counts the involuntary context switches so far; 0 where nobody counts."""
    with contextlib.suppress(ImportError):
        import resource

        whole = resource.RUSAGE_SELF
        who = getattr(resource, "RUSAGE_THREAD", whole) if one_thread else whole
        return lambda: resource.getrusage(who).ru_nivcsw
    return lambda: 0


if __name__ == "__main__":
    sys.exit(main())
