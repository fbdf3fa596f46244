"""Child processes: what they read is laid out in a folder, what they answer comes as JSON."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np

from edgepack.base import errors, units
from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.bench.duel import Face, Job, Line, Name, Side
from edgepack.bench.record import Options, Pair, Plan
from edgepack.bench.rivals import Rivals


class Stage:
    """A folder with what the children read.

    Attributes:
        folder: It.
    """

    def __init__(self, folder: Path, rivals: Rivals) -> None:
        a, b, samples = rivals.a, rivals.b, rivals.samples
        self.folder = folder
        self._options: dict[Name, Options] = {"a": a.contestant.options, "b": b.contestant.options}
        self._names = tuple(samples[0]) if samples else ()
        try:
            (folder / "a.onnx").write_bytes(a.model)
            (folder / "b.onnx").write_bytes(b.model)
            np.savez(folder / "samples.npz", *(s[name] for s in samples for name in self._names))
        except OSError as error:
            raise MachineError(
                "E-DISK",
                f"cannot write to {str(folder)!r}: {error.strerror}",
                hint="free space, or let TMPDIR name another folder",
            ) from error

    def job(self, plan: Plan, *, one_thread: bool, realtime: bool, number: int) -> Job:
        """Return the job of process ``number``."""
        return Job(
            a=Side("a.onnx", self._options["a"]),
            b=Side("b.onnx", self._options["b"]),
            samples="samples.npz",
            names=self._names,
            pairs=plan.pairs,
            rounds=plan.rounds,
            one_thread=one_thread,
            realtime=realtime,
            core=_last_core() if realtime and one_thread else None,
            seed=plan.seed * 1000 + number,
        )

    def process(
        self, plan: Plan, *, one_thread: bool, realtime: bool, number: int, limit: float
    ) -> tuple[Pair, ...]:
        """Measure process ``number`` in a fresh child; ``limit`` is in seconds."""
        job = self.job(plan, one_thread=one_thread, realtime=realtime, number=number)
        answer = ask(job, self.folder, limit=limit)
        assert answer.pairs is not None
        return answer.pairs

    def faces(self) -> dict[Name, Face]:
        """Ask a child what the models take and return.

        Raises:
            ModelError: The runtime refuses one, or crashes.
        """
        nothing = Plan(looks=(), pairs=0, rounds=0, error=0.0, seed=0)
        job = self.job(nothing, one_thread=True, realtime=False, number=0)
        answer = ask(job, self.folder, limit=600)
        assert answer.faces is not None
        return answer.faces


def _last_core() -> int | None:
    """Return the core that bursts keep busy: the last one, since interrupts favour the first."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def ask(job: Job, folder: Path, *, limit: float) -> Line:
    """Run a child on one job, and return its last line.

    Raises:
        EdgepackError: What the child raised; or it crashed, hung, or did not answer.
    """
    command = [sys.executable, "-P", "-m", "edgepack.bench.duel"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(
            "E-CHILD", f"a child process did not end within {units.duration(limit)}"
        ) from error
    lines = [_line(text) for text in done.stdout.splitlines()]
    last = lines[-1] if lines else Line()
    if done.returncode:
        raise broken(done.returncode, last.doing, done.stderr.decode(errors="replace"))
    if last.failure is not None:
        known: type[EdgepackError] = getattr(errors, last.failure.kind)
        raise known(last.failure.code, last.failure.message, hint=last.failure.hint)
    if last.pairs is None and last.faces is None:
        raise MachineError("E-CHILD", "a child process ended without an answer")
    return last


def _line(text: bytes) -> Line:
    """Read a line; that of a child which was ended while it wrote says nothing."""
    try:
        return msgspec.json.decode(text, type=Line)
    except msgspec.DecodeError:
        return Line()


def environment() -> dict[str, str]:
    """Let the child import this very edgepack, wherever it was imported from."""
    here = str(Path(__file__).parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def broken(code: int, doing: str, said: str) -> EdgepackError:
    """Say in one sentence how a child ended and what it was at."""
    if code < 0:
        name = str(-code)
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
        return ModelError("E-CRASH", f"the process stopped with {name} while {doing or 'starting'}")
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return MachineError(
        "E-CHILD", f"a child process failed while {doing or 'starting'}: {lines[-1]}"
    )
