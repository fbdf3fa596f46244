"""The request as the user made it, and the job it becomes once all of it is checked."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgepack.data.metrics import Metric
from edgepack.plan import Plan

PROGRAMS = (".pt2", ".pt", ".pth")
"""Files that torch made; all but programs of ``torch.export`` are refused, with the reason."""

Reference = str | Iterable[object]
"""A REF of the contract, or samples given from Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything ``edgepack build`` can be told; None means: not said.

    Attributes:
        model: ``model.onnx``, ``program.pt2``, ``file.py:name`` or ``pkg.module:name``; None for
            the ``edgepack.toml`` of the current folder, or the built-in example.
        targets: Names of targets.
        recipe: Name of a built-in recipe, or a path that ends in ``.toml``.
        calib: Calibration data.
        evaluation: Evaluation data.
        metric: Name of a metric, or ``file.py:name``.
        max_drop: Loss allowed, absolute, in the metric's unit.
        strict: Whether the interval must hold the limit too.
        prefer: The objective.
        require: Fail rather than ship float.
        max_size: Bytes that a bundle may have.
        max_latency: Seconds that one inference may take on the device.
        on: Devices to measure on.
        shape: Input name -> shape, for models without example inputs.
        out: Folder for bundles.
        name: First part of the file name.
        force: Whether existing bundles may be replaced.
        replay: A report whose decisions and observations are used again.
    """

    model: str | None = None
    targets: tuple[str, ...] = ()
    recipe: str | None = None
    calib: Reference | None = None
    evaluation: Reference | None = None
    metric: str | None = None
    max_drop: float | None = None
    strict: bool = False
    prefer: Literal["speed", "size"] | None = None
    require: Literal["int8"] | None = None
    max_size: int | None = None
    max_latency: float | None = None
    on: tuple[str, ...] = ()
    shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    out: Path = Path("dist")
    name: str | None = None
    force: bool = False
    replay: Path | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A request that can be carried out.

    Attributes:
        request: As given, with what the project says filled in.
        folder: What relative references are relative to.
        weights: State dictionary for the module, if any.
        dynamic: Input -> names of its leading dimensions, None where static.
        state: Output -> input, carried from run to run.
        plans: One per target, in the order asked for.
        paths: Where each bundle goes.
        metric: The metric, or None where fidelity is the gate.
        name: First part of the file names.
        notes: Sentences for the user.
    """

    request: Request
    folder: Path
    weights: Path | None
    dynamic: dict[str, tuple[str | None, ...]]
    state: dict[str, str]
    plans: tuple[Plan, ...]
    paths: tuple[Path, ...]
    metric: Metric | None
    name: str
    notes: tuple[str, ...]
