"""The request as the user made it, and the job it becomes once all of it is checked."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgepack.base.errors import RequestError, nearest
from edgepack.data.metrics import Metric
from edgepack.plan import Plan
from edgepack.spec.preprocess import Rule

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
        training: Labelled samples for the ``[[compress]]`` steps.
        loss: ``file.py:name`` of a loss, where cross-entropy is not meant.
        max_drop: Loss allowed, absolute, in the metric's unit.
        strict: Whether the interval must hold the limit too.
        prefer: The objective.
        require: Fail rather than ship float.
        max_size: Bytes that the model file may have.
        max_latency: Seconds that one inference may take on the device.
        on: Devices to measure on.
        tune: Whether to look for the fastest session options on a device of the target.
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
    training: Reference | None = None
    loss: str | None = None
    max_drop: float | None = None
    strict: bool = False
    prefer: Literal["speed", "size"] | None = None
    require: Literal["int8"] | None = None
    max_size: int | None = None
    max_latency: float | None = None
    on: tuple[str, ...] = ()
    tune: bool = False
    shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    out: Path = Path("dist")
    name: str | None = None
    force: bool = False
    replay: Path | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Request":
        """Make a request from what a Python caller gave; strings may stand for lists and paths.

        Raises:
            RequestError: A name or a value is not valid.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                hint = nearest(name, known)
                raise RequestError("E-USAGE", f"build has no option {name!r}", hint=hint)
        given = dict(fields)
        for name in ("targets", "on"):
            value = given.get(name)
            given[name] = (value,) if isinstance(value, str) else tuple(value or ())
        for name in ("out", "replay"):
            if given.get(name) is not None:
                given[name] = Path(given[name])
        _check_choice("prefer", given.get("prefer"), ("speed", "size"))
        _check_choice("require", given.get("require"), ("int8",))
        return cls(**given)


def _check_choice(option: str, value: object, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        hint = " or ".join(known)
        raise RequestError("E-USAGE", f"{option} may not be {value!r}", hint=hint)


@dataclass(frozen=True, slots=True)
class Job:
    """A request that can be carried out.

    Attributes:
        request: As given, with what the project says filled in.
        folder: What the model's reference is relative to.
        data_folders: The same for data, metric and loss, which may come from elsewhere.
        weights: State dictionary for the module, if any.
        dynamic: Input -> names of its leading dimensions, None where static.
        state: Output -> input, carried from run to run.
        plans: One per target, in the order asked for.
        paths: Where each bundle goes.
        metric: The metric, or None where fidelity is the gate.
        name: First part of the file names.
        notes: Sentences for the user.
        preprocess: How raw input becomes a sample, where the project says so.
    """

    request: Request
    folder: Path
    data_folders: Mapping[str, Path]
    weights: Path | None
    dynamic: dict[str, tuple[str | None, ...]]
    state: dict[str, str]
    plans: tuple[Plan, ...]
    paths: tuple[Path, ...]
    metric: Metric | None
    name: str
    notes: tuple[str, ...]
    preprocess: Rule | None = None
