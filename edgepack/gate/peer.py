"""What ONNX Runtime's own tool would ship, among the candidates: no build is worse than it.

It gets the float graph that our lossless steps made, options picked by hand, and a process of its
own. It ships where our candidates are refused and it is not, or where it is faster and passes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgepack.base.errors import EdgepackError
from edgepack.data.samples import Dataset
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.graph.precision import integer_nodes
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.plan import Plan
from edgepack.runtime import peer
from edgepack.runtime.carry import Carry
from edgepack.runtime.session import Session
from edgepack.spec.manifest import StepRecord
from edgepack.spec.signature import Sample, Signature

NAME = "int8 by onnxruntime's tool"

_RUNS = 64
"""Calibration runs: its MinMax gains nothing from more, and keeps memory for each."""

_LIMIT = 600.0  # seconds


class Peer:
    """The candidate that ONNX Runtime's tool makes, made once and only where somebody asks."""

    def __init__(self, rewritten: Rewritten) -> None:
        """Bind the float candidate and the data that ranges are measured on."""
        self._rewritten = rewritten
        self._made: Candidate | None = None
        self._tried = False
        self.why_not = ""

    def candidate(self) -> Candidate | None:
        """Return the candidate; None where there is none, and ``why_not`` may say why."""
        if not self._tried:
            self._tried = True
            self._made = self._make()
        return self._made

    def _make(self) -> Candidate | None:
        plan, float_ = self._rewritten.plan, self._rewritten.float_
        calibration = self._rewritten.calibration
        step, int8 = _step(plan), plan.target.int8
        if step is None or int8 is None or calibration is None or self._rewritten.trained:
            return None
        if plan.target.provider != "CPUExecutionProvider":
            return None
        samples = list(_runs(float_.data, self._rewritten.signature, calibration))
        job = peer.Job(tuple(samples[0]), int8.saturating, step.exclude)
        try:
            data = _quantized(float_.data, job, samples)
            model = parse(data, NAME).model
        except (_FailedError, EdgepackError) as error:
            self.why_not = f"{NAME} fails: {error}"
            return None
        if not integer_nodes(model):
            return None
        done = StepRecord("onnxruntime.quantization", {"reduce_range": int8.saturating}, 1)
        return replace(
            float_,
            name=NAME,
            model=model,
            data=to_bytes(model, plan.target.max_ir),
            steps=(*float_.steps, done),
            lossy=True,
        )


class _FailedError(Exception):
    """The tool did not make a model; the text is the last that it said."""


def _step(plan: Plan) -> QuantizeStatic | None:
    steps = (bound.step for bound in plan.graph)
    return next((step for step in steps if isinstance(step, QuantizeStatic)), None)


def _runs(model: bytes, signature: Signature, calibration: Dataset) -> Iterator[Sample]:
    """Yield full samples, carried state included as a float run carries it."""
    left, session = _RUNS, Session(model)
    for item in calibration:
        carry = Carry(signature)
        for sample in item.samples:
            full = carry.fill(sample)
            yield full
            left -= 1
            if not left:
                return
            if signature.state:
                carry.keep(session.run(full))


def _quantized(model: bytes, job: peer.Job, samples: list[Sample]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgepack-peer-") as name:
        folder = Path(name)
        (folder / "float.onnx").write_bytes(model)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        np.savez(folder / "samples.npz", *(each[n] for each in samples for n in job.names))
        command = [sys.executable, "-P", "-m", peer.__name__, str(folder)]
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise _FailedError(f"it did not end within {_LIMIT:g} s") from error
        out = folder / "int8.onnx"
        if done.returncode or not out.is_file():
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise _FailedError(said[-1])
        return out.read_bytes()
