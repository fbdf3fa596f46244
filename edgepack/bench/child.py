"""What the children of a comparison read, laid out in a folder, and what each is asked for."""

import os
from pathlib import Path

import numpy as np

from edgepack.base.errors import MachineError
from edgepack.bench.duel import Job, Name, Side
from edgepack.bench.record import Options, Pair, Plan
from edgepack.bench.rivals import Rivals
from edgepack.bench.visit import visit


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
        pairs = tuple(each.pair for each in visit(job, self.folder, limit=limit) if each.pair)
        if len(pairs) != plan.pairs:
            raise MachineError("E-CHILD", "a child process ended without its answer")
        return pairs


def _last_core() -> int | None:
    """Return the core that bursts keep busy: the last one, since interrupts favour the first."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
