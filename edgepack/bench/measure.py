"""Measure one model in one scenario: fresh processes, raw samples, facts about the machine."""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgepack.base.errors import MachineError, ModelError
from edgepack.bench import operators, sensors, surroundings
from edgepack.bench.measured import Opened, Process, Result, Samples
from edgepack.bench.record import Clock
from edgepack.bench.scenario import Scenario, Server, Single
from edgepack.bench.subject import Subject
from edgepack.bench.visit import visit
from edgepack.bench.worker import Job
from edgepack.runtime import machine

_PILOT = (200, 2.0)
"""Runs and seconds, of each of two parts, that tell how fast a server may be asked."""

_FEWEST = 10  # runs of the second part; a slow model makes do with the first

_GRACE = 120.0  # seconds that a child may take besides its timed runs


@dataclass(slots=True)
class Measurement:
    """One measurement; what was measured stays here when it is interrupted.

    Attributes:
        subject: What to measure.
        scenario: How.
        tell: Called with sentences of progress.
        profile: Whether to ask, in a separate pass, what each operator takes.
        trace: The Chrome trace of that pass.
    """

    subject: Subject
    scenario: Scenario
    tell: Callable[[str], None] = lambda _: None
    profile: bool = False
    trace: bytes = b""
    _processes: list[Process] = field(default_factory=list)
    _rate: float | None = None
    _memory: dict[str, int] | None = None
    _start: tuple[Any, ...] = ()

    def measure(self) -> Result:
        """Measure to the end.

        A crash of the runtime after something was measured, or an interrupt, ends it early, and
        ``ended`` of the result says so.

        Raises:
            EdgepackError: The model does not run, and nothing was measured.
        """
        ended = ""
        with tempfile.TemporaryDirectory(prefix="edgepack-bench-") as name:
            folder = Path(name)
            self.subject.lay_out(folder)
            try:
                ended = self._all(folder)
            except KeyboardInterrupt:
                if not self.measured:
                    raise
                ended = "interrupted"
            except (ModelError, MachineError) as error:
                if not self.measured:
                    raise
                ended = str(error)
        return self._result(ended)

    @property
    def measured(self) -> int:
        """Runs, or starts, so far."""
        return sum(len(each.samples.wall) or (each.opened is not None) for each in self._processes)

    def _all(self, folder: Path) -> str:
        self._memory = self._look_at_memory(folder)
        if self.profile:
            self.trace = self._profiled(folder)
        if isinstance(self.scenario, Server):
            self._rate = self.scenario.rate or self._affordable(folder, self.scenario)
        look = surroundings.look()
        self._start = (time.monotonic(), look, sensors.read(0.0), sensors.energy())
        for number in range(self.scenario.processes):
            spent = time.monotonic() - self._start[0]
            if number and spent > 2 * self.scenario.seconds + 1:
                return f"its time was over after {number} of {self.scenario.processes} processes"
            self.tell(f"process {number + 1} of {self.scenario.processes}")
            self._one(self._job(), folder)
        return ""

    def _job(self, *, memory: bool = False, profile: bool = False) -> Job:
        subject, scenario = self.subject, self.scenario
        share = max(scenario.runs // scenario.processes, 1)
        return Job(
            model="model.onnx",
            options=subject.options,
            samples="samples.npz",
            names=subject.names,
            scenario=scenario,
            limit=(share, scenario.seconds / scenario.processes),
            rate=self._rate or 0.0,
            memory=memory,
            profile=profile,
        )

    def _one(self, job: Job, folder: Path) -> None:
        """Run one process, and keep what it measured however it ends."""
        opened: Opened | None = None
        samples = Samples()
        try:
            for line in visit(job, folder, limit=_GRACE + 20 * job.limit[1]):
                opened = line.opened or opened
                samples = samples + line.samples if line.samples else samples
        finally:
            if opened is not None:
                self._processes.append(Process(opened, samples))

    def _look_at_memory(self, folder: Path) -> dict[str, int] | None:
        lines = list(visit(self._job(memory=True), folder, limit=_GRACE))
        return next((line.memory for line in lines if line.memory), None)

    def _profiled(self, folder: Path) -> bytes:
        """Run under the runtime's profiler; return its Chrome trace."""
        self.tell("what each operator takes")
        for _line in visit(self._job(profile=True), folder, limit=_GRACE):
            pass
        return (folder / operators.TRACE).read_bytes()

    def _affordable(self, folder: Path, scenario: Server) -> float:
        """Return the rate at which the model is busy for the wanted part of the time.

        Runs that wait for requests take longer than runs back to back, so the pilot's first part
        only tells at which rate its second part asks.
        """
        alone = self._service(folder, Single(warmup=scenario.warmup), 0.0)
        rate = scenario.utilisation / float(np.mean(alone))
        asked = self._service(folder, scenario, rate)
        return scenario.utilisation / float(np.mean(asked if len(asked) >= _FEWEST else alone))

    def _service(self, folder: Path, how: Scenario, rate: float) -> list[float]:
        """Return the wall time of each run of a part of the pilot, in seconds."""
        job = msgspec.structs.replace(self._job(), scenario=how, limit=_PILOT, rate=rate)
        lines = list(visit(job, folder, limit=_GRACE + 20 * _PILOT[1]))
        return [x for line in lines if line.samples for x in line.samples.wall]

    def _result(self, ended: str) -> Result:
        began, before, reading, joules = self._start
        elapsed = time.monotonic() - began
        return Result(
            model=self.subject.path,
            sha256=self.subject.sha256,
            options=self.subject.options,
            scenario=self.scenario,
            inputs=self.subject.inputs,
            clock=self.clock,
            rate=self._rate,
            processes=tuple(self._processes),
            memory=self._memory,
            joules=sensors.joules(joules, sensors.energy()),
            elapsed=round(elapsed, 3),
            ended=ended,
            before=before,
            after=surroundings.look(),
            sensors=(reading, sensors.read(elapsed)),
            machine=facts(),
            signature=self.subject.signature,
            operators=operators.read(self.trace) if self.trace else (),
        )

    @property
    def clock(self) -> Clock:
        """CPU time where one thread computes, else wall time."""
        return "cpu" if self.subject.options.threads == 1 else "wall"


def facts() -> dict[str, Any]:
    """Return what about this machine could explain a number."""
    here = machine.here()
    return {
        "cpu": sensors.cpu_model(),
        "arch": here.arch,
        "features": sorted(here.features or ()),
        "cores": here.cores,
        "cores_online": os.cpu_count() or 0,
        "affinity": sensors.affinity(),
        "quota": machine.quota(),
        "kernel": platform.release(),
        "libc": here.libc,
        "python": platform.python_version(),
        "onnxruntime": here.onnxruntime,
        "numpy": np.__version__,
    }
