"""A comparison as it is stored, ``edgepack-compare/1``: raw samples; everything else is derived."""

from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np

from edgepack.base.errors import DataError, RequestError
from edgepack.bench.verdict import Groups

FORMAT: Literal["edgepack-compare/1"] = "edgepack-compare/1"

Clock: TypeAlias = Literal["cpu", "wall"]

T = TypeVar("T")

LOW = 25
"""The percentile that stands for a session: above the lucky, below the disturbed."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""


class Options(_Record, frozen=True):
    """How a session is opened, as ``runtime.session.Options``."""

    threads: int
    exact: bool
    level: str
    provider: str
    entries: dict[str, str]


class Contestant(_Record, frozen=True):
    """A or B: the file, the digest of the file, and the options it is opened with."""

    path: str
    sha256: str
    options: Options


class Samples(_Record, frozen=True):
    """The timed runs of one session, in order.

    Attributes:
        wall: Seconds by the monotonic clock.
        cpu: Seconds of CPU: of the one thread, or of the process where there are more.
        switches: Involuntary context switches during the run.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    switches: tuple[int, ...]

    def low(self, clock: Clock) -> float:
        """Return the 25th percentile, in seconds."""
        return float(np.percentile(self.wall if clock == "wall" else self.cpu, LOW))


class Pair(_Record, frozen=True):
    """A fresh session of A and one of B, in one process, at the same time.

    Attributes:
        first: Which was opened first.
        opening: Seconds that it took to open both.
    """

    first: Literal["a", "b"]
    opening: float
    a: Samples
    b: Samples

    def log_ratio(self, clock: Clock) -> float:
        """Return the log of B's 25th percentile over A's."""
        return float(np.log(self.b.low(clock) / self.a.low(clock)))


class Process(_Record, frozen=True):
    """What one fresh child process measured.

    Attributes:
        seconds: From its start to its end.
    """

    pairs: tuple[Pair, ...]
    seconds: float


class Plan(_Record, frozen=True):
    """Fixed before anything is judged.

    Attributes:
        looks: Numbers of processes at which the verdict may be given.
        pairs: Fresh pairs of sessions in a process.
        rounds: Timed runs of a session, in shuffled turns with those of its rival.
        error: How often the intervals of all looks together may miss the true ratio.
        seed: Of the order of turns.
    """

    looks: tuple[int, ...]
    pairs: int
    rounds: int
    error: float
    seed: int


class Surroundings(_Record, frozen=True):
    """What else the machine was doing; None where it does not tell.

    Attributes:
        load: Processes that run or wait, over the last minute.
        stolen: Seconds, since boot, that the hypervisor gave to others.
        throttled: Times that the control group's quota stopped this process.
        governor: Of the CPU frequency.
    """

    load: float | None
    stolen: float | None
    throttled: int | None
    governor: str | None


class Run(_Record, frozen=True):
    """The whole file.

    Attributes:
        inputs: ``golden samples of A`` (or B), or ``made up``.
        clock: The one that decides.
        realtime: Whether runs were timed in real-time bursts.
        budget: Seconds allowed.
        elapsed: Seconds taken, in all.
        before: Just before the first process.
        after: Just after the last one.
        machine: Facts about it.
    """

    format: Literal["edgepack-compare/1"]
    a: Contestant
    b: Contestant
    inputs: str
    clock: Clock
    realtime: bool
    budget: float
    plan: Plan
    processes: tuple[Process, ...]
    elapsed: float
    before: Surroundings
    after: Surroundings
    machine: dict[str, Any]

    @property
    def log_ratios(self) -> Groups:
        """One per pair, grouped by process."""
        return [[pair.log_ratio(self.clock) for pair in each.pairs] for each in self.processes]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, in order."""
        return tuple(pair for process in self.processes for pair in process.pairs)

    @property
    def looked(self) -> int:
        """How many looks were taken, the last, at fewer processes than planned, included."""
        done = len(self.processes)
        return min(sum(look < done for look in self.plan.looks) + 1, len(self.plan.looks))


def encode(run: Run) -> bytes:
    """Return the file."""
    return msgspec.json.encode(run) + b"\n"


def load(path: Path) -> Run:
    """Read what ``compare -o`` wrote.

    Raises:
        RequestError: The file cannot be read.
        DataError: It is no such file, or too few processes are in it.
    """
    run = read(path, Run, "comparison", "give what compare -o wrote")
    if reason := _unusable(run):
        raise DataError(
            "E-DATA", f"{str(path)!r} cannot be judged: {reason}", hint="compare again, with -o"
        )
    return run


def read(path: Path, kind: type[T], what: str, hint: str) -> T:
    """Read a JSON file of samples.

    Args:
        path: Where it lies.
        kind: Of its record.
        what: It is, in a word.
        hint: What to give instead of another file.

    Raises:
        RequestError: The file cannot be read.
        DataError: It is no such file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError("E-PATH", f"cannot read {str(path)!r}: {reason}", hint=hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError("E-DATA", f"{str(path)!r} is no {what}: {error}", hint=hint) from error


def _unusable(run: Run) -> str:
    """Say why no verdict can be computed from the samples, or nothing."""
    if len(run.processes) < 2:
        return f"it holds {len(run.processes)} processes, an interval takes two"
    if not (run.plan.looks and 0 < run.plan.error < 1):
        return "its plan has no looks, or no error to share among them"
    if any(not process.pairs for process in run.processes):
        return "a process in it has no pairs"
    runs = [getattr(side, run.clock) for pair in run.pairs for side in (pair.a, pair.b)]
    if not all(seconds and min(seconds) > 0 for seconds in runs):
        return "a session in it has no timed run, or one of no time"
    return ""
