"""A suite: models x targets x devices x scenarios in one TOML file, checked before it is measured.

Example::

    models = ["dist/digits-{target}.edgepack", {path = "float.onnx", shape = {x = [1, 64]}}]
    targets = ["x86_64", "arm64"]
    devices = ["local", "ssh://pi@kitchen", "qemu:cortex-a53"]
    scenarios = ["single", {scenario = "server", rate = 20.0}]
    threads = 1

Paths are relative to the folder of the file. What cannot be, such as a bundle for arm64 on a
device that is none, is skipped with a sentence.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from edgepack import devices
from edgepack.base.errors import EdgepackError, RequestError, nearest
from edgepack.bench import estimate
from edgepack.bench.remote import open_timing
from edgepack.bench.scenario import NAMES, Scenario, make
from edgepack.bundle.open import open_bundle
from edgepack.devices import Device
from edgepack.spec.decode import decode, read_toml

_MARK = "{target}"
_COUNTS = "qemu:"
_MODELS = frozenset({".onnx", ".edgepack"})


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of the file; ``shape`` is for inputs that are made up."""

    path: str
    shape: dict[str, tuple[int, ...]] = {}


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        models: Bundles and ONNX files; ``{target}`` stands for each of ``targets``.
        targets: Names to put there.
        devices: As ``--on``.
        scenarios: Names, or tables of a name and the fields of that scenario.
        threads: Of all; None for what ships, 0 for the usable cores, at most four.
    """

    models: tuple[str | Entry, ...]
    targets: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("local",)
    scenarios: tuple[str | dict[str, Any], ...] = ("single",)
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse a product that is empty, and threads below none."""
        for name in ("models", "devices", "scenarios"):
            if not getattr(self, name):
                raise ValueError(f"{name} names nothing")
        if self.threads is not None and self.threads < 0:
            raise ValueError(f"threads must not be negative, got {self.threads}")


@dataclass(frozen=True, slots=True)
class Task:
    """One cell of the product.

    Attributes:
        model: As the file names it, target put in.
        path: Where it lies.
        shape: Input -> shape, where inputs are made up.
        device: As users type it.
        scenario: How.
        threads: See ``Suite``.
        skipped: Why it is not measured, or nothing.
    """

    model: str
    path: Path
    shape: dict[str, tuple[int, ...]]
    device: str
    scenario: Scenario
    threads: int | None
    skipped: str = ""


def read(path: Path) -> list[Task]:
    """Return every cell, in the order of the file.

    Raises:
        RequestError: A key, a name or a path in it is wrong, or nothing is left to measure.
    """
    suite = decode(Suite, read_toml(path), str(path))
    where = str(path)
    entries = [each for model in suite.models for each in _spelled_out(model, suite.targets, where)]
    scenarios = [_scenario(each, where) for each in suite.scenarios]
    for each in entries:
        if not (path.parent / each.path).is_file():
            raise RequestError(
                "E-PATH", f"{where}: no model at {each.path!r}", hint=_near(path.parent, each.path)
            )
    archs = {name: _arch(name) for name in dict.fromkeys(suite.devices)}
    tasks = [
        Task(
            model=entry.path,
            path=path.parent / entry.path,
            shape=entry.shape,
            device=device,
            scenario=scenario,
            threads=suite.threads,
            skipped=_skipped(path.parent / entry.path, device, archs[device], scenario),
        )
        for entry, device, scenario in product(entries, archs, scenarios)
    ]
    if all(each.skipped for each in tasks):
        raise RequestError("E-SUITE", f"{where}: nothing can be measured: {tasks[0].skipped}")
    return tasks


def _near(folder: Path, name: str) -> str:
    """Return a hint that names a model of that folder, or says from where paths count."""
    place = (folder / name).parent
    found = place.iterdir() if place.is_dir() else ()
    models = [each.name for each in found if each.suffix.lower() in _MODELS]
    hint = f"; {nearest(Path(name).name, models)}" if models else ""
    return f"paths are relative to {str(folder)!r}{hint}"


def _spelled_out(model: str | Entry, targets: tuple[str, ...], where: str) -> list[Entry]:
    entry = Entry(model) if isinstance(model, str) else model
    if _MARK not in entry.path:
        return [entry]
    if not targets:
        raise RequestError(
            "E-CONFIG", f"{where}: {entry.path!r} needs targets", hint='targets = ["x86_64"]'
        )
    paths = (entry.path.replace(_MARK, each) for each in targets)
    return [msgspec.structs.replace(entry, path=each) for each in paths]


def _scenario(given: str | dict[str, Any], where: str) -> Scenario:
    table = {"scenario": given} if isinstance(given, str) else dict(given)
    name = table.pop("scenario", "")
    if name not in NAMES:
        raise RequestError(
            "E-CONFIG", f"{where}: no scenario {name!r}", hint=nearest(str(name), NAMES)
        )
    return decode(type(make(name)), {"scenario": name, **table}, f"{where}: scenario {name!r}")


def _arch(name: str) -> str:
    """Return the architecture of a device, nothing where it cannot be reached yet.

    Raises:
        RequestError: There is no such device.
    """
    try:
        return open_device(name).arch
    except RequestError:
        raise
    except EdgepackError:
        return ""


def open_device(name: str) -> Device:
    """Open a device that can do something for a suite.

    Raises:
        RequestError: There is no such device, or nothing bounds the speed of that CPU.
        MachineError: It cannot be used.
    """
    if name.startswith(_COUNTS):
        estimate.facts(name.partition(":")[2])
        return devices.open_device(name)
    return devices.open_device(name) if name == "local" else open_timing(name)


def _skipped(path: Path, device: str, arch: str, scenario: Scenario) -> str:
    """Say why a cell cannot be, or nothing."""
    if device != "local" and scenario.name != "single":
        return "other scenarios than single are for this machine only"
    if path.suffix.lower() == ".onnx" or not arch:
        return ""
    try:
        needed = open_bundle(path, digest=False).manifest.runtime.arch
    except EdgepackError:
        return ""  # its cell will say it
    return "" if needed == arch else f"the bundle is for {needed}, the device is {arch}"
