"""What is measured: a bundle at what its manifest says, or an ONNX file; and what it runs on."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgepack import devices
from edgepack.base.errors import DataError, MachineError, ModelError, RequestError
from edgepack.base.files import beside, sha256
from edgepack.bench.record import Options
from edgepack.bench.rivals import arm
from edgepack.bench.visit import visit
from edgepack.bench.worker import Job
from edgepack.bundle.open import open_bundle
from edgepack.devices import Timing
from edgepack.runtime import machine
from edgepack.runtime.carry import Carry
from edgepack.runtime.model import shipped_options
from edgepack.runtime.session import Options as SessionOptions
from edgepack.spec.signature import Sample, Signature

Shapes = Mapping[str, tuple[int, ...]]

_OPENING = 600.0  # seconds that opening a model may take


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, ready to be measured.

    Attributes:
        path: As the user named it.
        sha256: Of that file.
        model: The bytes of the ONNX file.
        options: Of its sessions.
        samples: State included.
        inputs: Where the samples come from, in words.
        signature: What the model takes, at the shapes that were given, and returns.
    """

    path: str
    sha256: str
    model: bytes
    options: Options
    samples: Sequence[Sample]
    inputs: str
    signature: Signature

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs, in the order in which ``lay_out`` writes them."""
        return tuple(self.samples[0])

    def lay_out(self, folder: Path) -> None:
        """Write what children read.

        Raises:
            MachineError: The disk is full.
        """
        arrays = [sample[name] for sample in self.samples for name in self.names]
        try:
            (folder / "model.onnx").write_bytes(self.model)
            np.savez(folder / "samples.npz", *arrays)
        except OSError as error:
            raise MachineError(
                "E-DISK",
                f"cannot write to {str(folder)!r}: {error.strerror}",
                hint="free space, or let TMPDIR name another folder",
            ) from error


def read(path: Path, threads: int | None, shapes: Shapes, device: Timing | None = None) -> Subject:
    """Open a model and find inputs: golden samples of a bundle, else made-up ones.

    Args:
        path: A bundle or an ONNX file.
        threads: None for what ships, 0 for the usable cores, at most four.
        shapes: Input -> shape, where inputs are made up.
        device: Where it will be measured; None for this machine.

    Raises:
        EdgepackError: The file cannot be read, or the device cannot run it.
        RequestError: The model does not run on made-up inputs: its shapes must be given.
    """
    if path.suffix.lower() == ".onnx":
        cores = machine.usable_cores() if device is None else device.cores
        return _read_onnx(path, threads or min(cores, machine.MOST_THREADS), shapes)
    bundle = open_bundle(path)
    needs = bundle.manifest.runtime
    if reason := devices.lacks(device, needs) if device else machine.missing(needs):
        where = f"on {device.name}" if device else "here"
        raise MachineError("E-MACHINE", f"{str(path)!r} cannot run {where}: {reason}")
    shipped = shipped_options(bundle.manifest, threads, device.cores if device else None)
    options = arm("", b"", "", shipped).contestant.options
    samples, told = bundle.golden.samples, bundle.manifest
    signed = Signature(told.inputs, told.outputs, told.state)
    where = "golden samples"
    return Subject(str(path), bundle.sha256, bundle.model, options, samples, where, signed)


def _read_onnx(path: Path, threads: int, shapes: Shapes) -> Subject:
    from edgepack.data.made_up import made_up

    if not path.is_file():
        raise RequestError("E-PATH", f"no model at {str(path)!r}", hint=beside(path))
    model = path.read_bytes()
    shipped = SessionOptions(threads=threads)
    options = arm("", b"", "", shipped).contestant.options
    shaped = _shaped(face(model, options), shapes)
    samples = [Carry(shaped).fill(item.samples[0]) for item in made_up(shaped)]
    subject = Subject(str(path), sha256(model), model, options, samples, "made up", shaped)
    _try(subject)
    return subject


def _shaped(found: Signature, shapes: Shapes) -> Signature:
    """Return the signature with the shapes that were given in the place of its own."""
    known = {spec.name for spec in found.inputs}
    for name in shapes:
        if name not in known:
            raise RequestError(
                "E-SHAPE", f"the model has no input {name!r}", hint=f"it takes {', '.join(known)}"
            )
    specs = [
        msgspec.structs.replace(spec, shape=shapes.get(spec.name, spec.shape))
        for spec in found.inputs
    ]
    return Signature(tuple(specs), found.outputs)


def face(model: bytes, options: Options) -> Signature:
    """Ask a child what a model takes and returns, so that a crash of the runtime is a sentence.

    Raises:
        ModelError: The runtime refuses the model, or crashes.
    """
    with tempfile.TemporaryDirectory(prefix="edgepack-bench-") as folder:
        Path(folder, "model.onnx").write_bytes(model)
        for line in visit(Job("model.onnx", options), Path(folder), limit=_OPENING):
            if line.inputs is not None and line.outputs is not None:
                return Signature(line.inputs, line.outputs)
    raise MachineError("E-CHILD", "a child process ended without an answer")


def _try(subject: Subject) -> None:
    """Run once on made-up inputs.

    Raises:
        RequestError: The model does not run on them.
    """
    with tempfile.TemporaryDirectory(prefix="edgepack-bench-") as name:
        subject.lay_out(Path(name))
        job = Job("model.onnx", subject.options, "samples.npz", subject.names)
        try:
            list(visit(job, Path(name), limit=_OPENING))
        except (DataError, ModelError) as error:
            if error.code == "E-CRASH":
                raise
            taken = ", ".join(
                f"{key}={'x'.join(map(str, value.shape))}"
                for key, value in subject.samples[0].items()
            )
            raise RequestError(
                "E-SHAPE",
                f"the model does not run on made-up inputs of {taken}: {error}",
                hint="give the shapes: --shape NAME=1x3x224x224",
            ) from error
