"""Measure the cells of a suite, one after the other; a failure stands in its cell."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import msgspec

from edgepack.base.errors import EdgepackError, MachineError, RequestError
from edgepack.base.files import sha256
from edgepack.bench import estimate, remote, subject
from edgepack.bench.estimate import Estimate
from edgepack.bench.measure import Measurement
from edgepack.bench.measured import Result
from edgepack.bench.remote import Remote, open_timing
from edgepack.bench.scenario import Scenario
from edgepack.bench.suite import Task, open_device
from edgepack.bench.summary import summarize
from edgepack.devices import Counting

FORMAT = "edgepack-suite/1"

_INVALID = 6


class Fault(msgspec.Struct, frozen=True):
    """An error that stands in a cell."""

    exit_code: int
    code: str
    message: str
    hint: str


class Cell(msgspec.Struct, frozen=True):
    """What became of one task; at most one of the last five is there.

    Attributes:
        result: What this machine measured, raw samples included.
        remote: What a device over ssh measured.
        counts: What an emulated CPU counted.
        fault: Why there is nothing.
        skipped: Why it was not tried, or nothing.
        sha256: Of the file of the model; empty where nothing was measured.
        threads: As the suite asked.
        shape: As the suite asked, input -> shape.
    """

    model: str
    device: str
    scenario: Scenario
    result: Result | None = None
    remote: Remote | None = None
    counts: Estimate | None = None
    fault: Fault | None = None
    skipped: str = ""
    sha256: str = ""
    threads: int | None = None
    shape: dict[str, tuple[int, ...]] = {}

    @property
    def finished(self) -> bool:
        """Whether it was measured to the end, so that measuring again would tell no more."""
        if self.result is not None:
            return not self.result.ended
        if self.remote is not None:
            return not self.remote.incomplete
        return self.counts is not None

    @property
    def exit_code(self) -> int:
        """As the command alone would have returned it."""
        if self.fault is not None:
            return self.fault.exit_code
        if self.result is not None and not summarize(self.result).valid:
            return _INVALID
        return _INVALID if self.remote is not None and self.remote.incomplete else 0


class File(msgspec.Struct, frozen=True, tag_field="format", tag=FORMAT):
    """What ``bench --suite -o`` writes: every cell, raw samples included."""

    cells: tuple[Cell, ...]


@dataclass(slots=True)
class Series:
    """One pass over a suite; what was measured stays here when it is interrupted.

    Attributes:
        tasks: What to measure.
        tell: Called with sentences of progress.
        keep: Called with all cells there are after each, to store them.
        kept: Finished cells of an earlier start, each beside its task; None for what is to do.
    """

    tasks: Sequence[Task]
    tell: Callable[[str], None] = lambda _: None
    keep: Callable[[Sequence[Cell]], None] = lambda _: None
    kept: Sequence[Cell | None] = ()
    cells: list[Cell] = field(default_factory=list)

    @property
    def all(self) -> list[Cell]:
        """Every cell there is, also those of an earlier start that come later."""
        return self.cells + [each for each in self.kept[len(self.cells) :] if each]

    def check(self) -> None:
        """Open what this machine is to measure; any other error than of the request can wait.

        Raises:
            RequestError: Made-up inputs do not fit a model: its shapes must be given.
        """
        due = zip_longest(self.tasks, self.kept)
        here = {task.path: task for task, kept in due if _is_here(task) and kept is None}
        for task in here.values():
            try:
                subject.read(task.path, task.threads, task.shape)
            except RequestError:
                raise
            except EdgepackError as error:
                self.tell(f"{task.model}: {error}")

    def measure(self) -> bool:
        """Measure to the end, or until somebody interrupts; return whether it was the end."""
        for number, (task, kept) in enumerate(zip_longest(self.tasks, self.kept), 1):
            if kept is not None:
                self.cells.append(kept)
                continue
            where = f"{task.model} on {task.device}, {task.scenario.name}"
            try:
                self.tell(f"{number} of {len(self.tasks)}: {where}")
                cell = self._one(task)
            except KeyboardInterrupt:
                return False
            self.cells.append(cell)
            self.keep(self.all)
            if cell.result is not None and cell.result.ended == "interrupted":
                return False
        return True

    def _one(self, task: Task) -> Cell:
        empty = Cell(task.model, task.device, task.scenario, skipped=task.skipped)
        if task.skipped:
            return empty
        asked = {"threads": task.threads, "shape": task.shape, "sha256": digest(task.path)}
        empty = msgspec.structs.replace(empty, **asked)
        try:
            if task.device == "local":
                return msgspec.structs.replace(empty, result=self._here(task))
            if task.device.startswith("ssh:"):
                return msgspec.structs.replace(empty, remote=_there(task))
            return msgspec.structs.replace(empty, counts=_count(task))
        except EdgepackError as error:
            fault = Fault(error.exit_code, error.code, str(error), error.hint)
            return msgspec.structs.replace(empty, fault=fault)

    def _here(self, task: Task) -> Result:
        found = subject.read(task.path, task.threads, task.shape)
        return Measurement(found, task.scenario, self.tell).measure()


def encode(cells: Iterable[Cell]) -> bytes:
    """Return the file."""
    return msgspec.json.encode(File(tuple(cells))) + b"\n"


def results(cells: Iterable[Cell]) -> list[Result]:
    """Return what this machine measured."""
    return [each.result for each in cells if each.result is not None]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; nothing where it cannot be read, which its cell will say."""
    try:
        return sha256(path.read_bytes())
    except OSError:
        return ""


def _is_here(task: Task) -> bool:
    return task.device == "local" and not task.skipped


def _there(task: Task) -> Remote:
    how, device = task.scenario, open_timing(task.device)
    limits = {"threads": task.threads or 0, "runs": how.runs, "warmup": how.warmup}
    return remote.measure(task.path, device, **limits)


def _count(task: Task) -> Estimate:
    device = open_device(task.device)
    if not isinstance(device, Counting):
        raise MachineError("E-DEVICE", f"{task.device!r} cannot count")
    cost = estimate.facts(task.device.partition(":")[2])
    return estimate.estimate(device, *estimate.read(task.path), cost)
