"""Latency of one model, one request after the other, on this machine."""

from pathlib import Path
from typing import Any

import msgspec

from edgepack.base.errors import MachineError, RequestError
from edgepack.base.files import sha256
from edgepack.bench.sampler import take
from edgepack.bundle.open import open_bundle
from edgepack.runtime import machine
from edgepack.runtime.model import open_session
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample


class Result(msgspec.Struct, frozen=True):
    """What was measured, with every raw sample.

    Attributes:
        model: The file.
        sha256: Its digest.
        threads: Threads of one operator.
        warmup: Untimed runs.
        percentiles: Clock -> p50, p90, p99, in seconds.
        samples: Clock -> seconds of each run, in order.
        machine: Facts about the machine that ran it.
        device: Its name.
        lost: Times that the connection was lost; a fresh session went on each time.
        incomplete: Why there are fewer runs than asked for; empty where there are not.
    """

    model: str
    sha256: str
    threads: int
    warmup: int
    percentiles: dict[str, dict[str, float]]
    samples: dict[str, tuple[float, ...]]
    machine: dict[str, Any]
    device: str = "local"
    lost: int = 0
    incomplete: str = ""


def measure(path: Path, *, threads: int, runs: int, warmup: int) -> Result:
    """Time a bundle on its first golden sample, or an ONNX model on made-up input.

    Raises:
        EdgepackError: The file cannot be read, or this machine cannot run it.
    """
    number = threads or machine.threads()
    session, sample, digest = _open(path, number)
    timing = take(lambda: session.run(sample), threads=number, warmup=warmup, runs=runs)
    here = machine.here()
    facts = {"arch": here.arch, "cores": here.cores, "onnxruntime": here.onnxruntime}
    return Result(
        str(path),
        digest,
        number,
        warmup,
        timing.percentiles(),
        {"wall": timing.wall, "cpu": timing.cpu},
        facts,
    )


def _open(path: Path, threads: int) -> tuple[Session, Sample, str]:
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path, threads)
    bundle = open_bundle(path)
    if reason := machine.missing(bundle.manifest.runtime):
        raise MachineError("E-MACHINE", f"{str(path)!r} cannot run here: {reason}")
    return open_session(bundle, threads), bundle.golden.samples[0], bundle.sha256


def _open_onnx(path: Path, threads: int) -> tuple[Session, Sample, str]:
    from edgepack.data.made_up import made_up
    from edgepack.runtime.carry import Carry
    from edgepack.spec.signature import Signature

    if not path.is_file():
        raise RequestError("E-PATH", f"no model at {str(path)!r}")
    data = path.read_bytes()
    session = Session(data, Options(threads=threads), where=str(path))
    face = Signature(session.inputs, session.outputs)
    return session, Carry(face).fill(made_up(face)[0].samples[0]), sha256(data)
