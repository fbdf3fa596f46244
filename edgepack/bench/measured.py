"""A measurement as it is stored, ``edgepack-bench/1``: raw samples; everything else is derived."""

from pathlib import Path
from typing import Any

import msgspec

from edgepack.bench.operators import Operator
from edgepack.bench.record import Clock, Options, Surroundings, read
from edgepack.bench.scenario import Scenario
from edgepack.bench.sensors import Reading
from edgepack.spec.signature import Signature

FORMAT = "edgepack-bench/1"


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""


class Samples(_Record, frozen=True):
    """Timed runs of one session, in order.

    Attributes:
        start: Seconds from the first moment of timing to the start of the run.
        wall: Seconds that the run took, by the monotonic clock.
        cpu: Seconds of CPU: of the one thread, or of the process where there are more.
        switches: Involuntary context switches during the run; of runs below 0.1 ms those of a few
            stand with the last of them.
        due: Seconds at which the request arrived; empty in a closed loop.
    """

    start: tuple[float, ...] = ()
    wall: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    switches: tuple[int, ...] = ()
    due: tuple[float, ...] = ()

    def __add__(self, other: "Samples") -> "Samples":
        return Samples(
            self.start + other.start,
            self.wall + other.wall,
            self.cpu + other.cpu,
            self.switches + other.switches,
            self.due + other.due,
        )

    @property
    def latency(self) -> tuple[float, ...]:
        """Seconds that whoever asked waited: from arrival to end where requests arrive."""
        if not self.due:
            return self.wall
        runs = zip(self.due, self.start, self.wall, strict=True)
        return tuple(start + wall - due for due, start, wall in runs)


class Opened(_Record, frozen=True):
    """How a process got ready, in seconds of wall time.

    Attributes:
        importing: The runtime.
        opening: The session.
        first: The first inference.
    """

    importing: float
    opening: float
    first: float

    @property
    def cold(self) -> float:
        """From nothing imported to a first answer; the start of Python is not in it."""
        return self.importing + self.opening + self.first


class Process(_Record, frozen=True):
    """What one fresh child process measured; ``opened`` is None where it did not get so far."""

    opened: Opened | None
    samples: Samples


class Result(_Record, frozen=True):
    """One model in one scenario.

    Attributes:
        inputs: ``golden samples`` or ``made up``.
        clock: The one to compare by: CPU time where one thread computes, else wall time.
        rate: Requests per second of a server, as drawn; None elsewhere.
        memory: High-water bytes of a process that opens and runs the model, and of one that only
            imports the runtime; a separate pass. None where nobody tells.
        joules: Of all sockets while timing, everything else that ran included; None: n/a.
        elapsed: Seconds of measuring, starting processes included.
        ended: Why it ended early, or nothing.
        machine: Facts that could explain the number.
        signature: What the model takes and returns; None in files from before it was kept.
        operators: What each took, in a separate pass under the runtime's profiler; empty where
            nobody asked.
    """

    model: str
    sha256: str
    options: Options
    scenario: Scenario
    inputs: str
    clock: Clock
    rate: float | None
    processes: tuple[Process, ...]
    memory: dict[str, int] | None
    joules: float | None
    elapsed: float
    ended: str
    before: Surroundings
    after: Surroundings
    sensors: tuple[Reading, Reading]
    machine: dict[str, Any]
    signature: Signature | None = None
    operators: tuple[Operator, ...] = ()

    @property
    def latency(self) -> tuple[float, ...]:
        """Seconds of each request, in order; of a cold start those of a whole start."""
        if self.scenario.name == "cold":
            return tuple(each.opened.cold for each in self.processes if each.opened)
        return tuple(x for each in self.processes for x in each.samples.latency)

    @property
    def busy(self) -> tuple[float, ...]:
        """Seconds of each run by the clock to compare by, in order."""
        return tuple(x for each in self.processes for x in getattr(each.samples, self.clock))


class File(_Record, frozen=True, tag_field="format", tag=FORMAT):
    """The whole file."""

    results: tuple[Result, ...]


def encode(results: tuple[Result, ...]) -> bytes:
    """Return the file."""
    return msgspec.json.encode(File(results)) + b"\n"


def load(path: Path) -> tuple[Result, ...]:
    """Read what ``bench -o`` wrote.

    Raises:
        RequestError: The file cannot be read.
        DataError: It is no such file.
    """
    return read(path, File, "measurement", "give what bench -o wrote").results


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file (draft 2020-12)."""
    return msgspec.json.schema(File)
