"""Latency of one model on another machine: its agent times, what it tells is kept as it comes."""

from pathlib import Path
from typing import Any

import msgspec

from edgepack import devices
from edgepack.base.errors import MachineError, RequestError
from edgepack.base.files import beside, sha256
from edgepack.bench.percentile import Percentile, percentiles
from edgepack.bundle.open import open_bundle
from edgepack.devices import Opened, Timing, Turns
from edgepack.runtime import machine
from edgepack.runtime.model import shipped_options
from edgepack.runtime.remote.refusals import LostError
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample, Signature

_STREAM = 1.0  # seconds of measuring that a lost connection may cost
_SILENCE = 300.0  # opening a model and warming it up says nothing meanwhile
_TRIES = 3


class Remote(msgspec.Struct, frozen=True):
    """What a device measured, with every raw sample.

    Attributes:
        model: The file.
        sha256: Its digest.
        threads: Threads of one operator.
        warmup: Untimed runs.
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
    samples: dict[str, tuple[float, ...]]
    machine: dict[str, Any]
    device: str
    lost: int = 0
    incomplete: str = ""

    @property
    def percentiles(self) -> dict[str, dict[str, Percentile | None]]:
        """Clock -> p50, p90, p99; None where the samples do not support one."""
        return {clock: percentiles(seconds) for clock, seconds in self.samples.items()}


class File(msgspec.Struct, frozen=True, tag_field="format", tag="edgepack-devices/1"):
    """What ``bench --on ssh://... -o`` writes."""

    results: tuple[Remote, ...]


def open_timing(name: str) -> Timing:
    """Open a device that can time.

    Raises:
        RequestError: There is no such device, or it has no time of its own.
        MachineError: It cannot be used.
    """
    device = devices.open_device(name)
    if not isinstance(device, Timing):
        raise RequestError(
            "E-DEVICE",
            f"nothing can be timed on {name!r}",
            hint="time on this machine or on ssh://[user@]host; an emulated CPU has no time",
        )
    return device


def measure(path: Path, device: Timing, *, threads: int | None, runs: int, warmup: int) -> Remote:
    """Time a bundle on its first golden sample, or an ONNX model on made-up input.

    A lost connection is taken up again by a fresh session, twice; then what there is is returned.

    Args:
        path: The bundle or the model.
        device: Where.
        threads: None for what ships, 0 for the usable cores, at most four.
        runs: Timed runs.
        warmup: Untimed runs before.

    Raises:
        EdgepackError: The file cannot be read, the device cannot run it, or nothing was measured.
    """
    opened, sample, digest = _open(path, device, threads)
    gathered = _Gathered()
    lost, incomplete = 0, ""
    with device.timer([opened], [sample]) as timer:
        while gathered.count < runs and not incomplete:
            turns = Turns([("a", f"{runs - gathered.count}a")], warmup=warmup, stream=_STREAM)
            try:
                timer.time(turns, gathered.hear, _SILENCE)
                if gathered.count < runs:
                    incomplete = f"{device.name} ended after {gathered.count} of {runs} runs"
            except LostError as error:
                lost += 1
                incomplete = str(error) if lost >= _TRIES else ""
            except MachineError as error:
                incomplete = str(error)
            if incomplete and not gathered.count:
                said = f"{incomplete}, before the first timed run"
                raise MachineError(
                    "E-LOST", said, hint=f"look at it: edgepack devices {device.name}"
                )
    return Remote(
        str(path),
        digest,
        opened.threads,
        warmup,
        gathered.samples(),
        {"arch": device.arch, "cores": device.cores, "onnxruntime": device.runtime},
        device.name,
        lost,
        incomplete,
    )


class _Gathered:
    """The runs so far."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._cpu: list[float] = []

    @property
    def count(self) -> int:
        return len(self._wall)

    def hear(self, words: list[str]) -> None:
        if words[0] == "a":
            self._wall.append(round(int(words[1]) * 1e-9, 9))
            self._cpu.append(round(int(words[2]) * 1e-9, 9))

    def samples(self) -> dict[str, tuple[float, ...]]:
        return {"wall": tuple(self._wall), "cpu": tuple(self._cpu)}


def _open(path: Path, device: Timing, threads: int | None) -> tuple[Opened, Sample, str]:
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path, threads or min(device.cores, machine.MOST_THREADS), device)
    bundle = open_bundle(path)
    if reason := devices.lacks(device, bundle.manifest.runtime):
        said = f"{str(path)!r} cannot run on {device.name}: {reason}"
        raise MachineError("E-MACHINE", said, hint="build for a target that the device stands for")
    devices.require_fit(device, Signature(bundle.manifest.inputs, bundle.manifest.outputs))
    options = shipped_options(bundle.manifest, threads, device.cores)
    opened = Opened(bundle.model, options.threads, options.level, options.entries)
    return opened, bundle.golden.samples[0], bundle.sha256


def _open_onnx(path: Path, threads: int, device: Timing) -> tuple[Opened, Sample, str]:
    from edgepack.data.made_up import made_up
    from edgepack.runtime.carry import Carry

    if not path.is_file():
        raise RequestError("E-PATH", f"no model at {str(path)!r}", hint=beside(path))
    data = path.read_bytes()
    session = Session(data, Options(), where=str(path))
    face = Signature(session.inputs, session.outputs)
    devices.require_fit(device, face)
    sample = Carry(face).fill(made_up(face)[0].samples[0])
    return Opened(data, threads, "all", {}), sample, sha256(data)
