"""``edgepack.toml``: what a project builds, from which model and data, for which targets.

Options of the command line win over it. References and paths in it are relative to its folder.
"""

from math import isfinite
from pathlib import Path
from typing import Literal

import msgspec

from edgepack.spec.decode import decode, read_toml
from edgepack.spec.preprocess import Rule

FILE = "edgepack.toml"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class ModelTable(_Table, frozen=True):
    """``[model]``.

    Attributes:
        source: ``model.onnx``, ``program.pt2``, ``file.py:name`` or ``pkg.module:name``.
        name: Name of the bundles, as ``--name``.
        weights: A ``.safetensors`` file, or a state dict that is loaded with ``weights_only``.
        dynamic: Input -> names of its axes from the first on; an empty name keeps the axis fixed.
        shape: Input -> its shape, where the model leaves it open.
        state: Output -> input, for what one run hands to the next.
    """

    source: str | None = None
    name: str | None = None
    weights: str | None = None
    dynamic: dict[str, tuple[str, ...]] = {}
    shape: dict[str, tuple[int, ...]] = {}
    state: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse a shape without elements."""
        for name, shape in self.shape.items():
            if any(size < 1 for size in shape):
                raise ValueError(f"shape of {name!r} must be positive, got {list(shape)}")


class DataTable(_Table, frozen=True):
    """``[data]``: references to samples, and how outputs are judged.

    Attributes:
        calibration: Samples that ranges are measured on.
        evaluation: Samples that accuracy is measured on, with labels where there are any.
        metric: A built-in metric, or a reference to a callable.
        training: Samples with labels for the ``[[compress]]`` steps.
        loss: A reference to a callable, where cross-entropy is not meant.
    """

    calibration: str | None = None
    evaluation: str | None = None
    metric: str | None = None
    training: str | None = None
    loss: str | None = None


class BuildTable(_Table, frozen=True):
    """``[build]``: the options of ``edgepack build`` that belong to the project.

    Attributes:
        targets: Names of targets.
        recipe: A built-in recipe, or a file.
        max_drop: Loss allowed, in the metric's unit.
        strict: Whether a drop that is not shown to hold fails the build.
        prefer: The objective.
        require: A precision that must ship.
        tune: Whether to look for the fastest session options on a device of the target.
    """

    targets: tuple[str, ...] = ()
    recipe: str | None = None
    max_drop: float | None = None
    strict: bool = False
    prefer: Literal["speed", "size"] | None = None
    require: Literal["int8"] | None = None
    tune: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that cannot be one."""
        if self.max_drop is not None and not (isfinite(self.max_drop) and self.max_drop >= 0):
            raise ValueError(f"max_drop must be finite and not negative, got {self.max_drop}")


class Project(_Table, frozen=True):
    """The whole file; every table and key may be left out.

    Attributes:
        model: What is built.
        data: Samples and judgement.
        build: Options.
        preprocess: How an image, a text or sound becomes a sample; ``kind`` says which of them.
    """

    model: ModelTable = ModelTable()
    data: DataTable = DataTable()
    build: BuildTable = BuildTable()
    preprocess: Rule | None = None


def load(folder: Path) -> Project | None:
    """Read the ``edgepack.toml`` of ``folder``; None where there is none.

    Raises:
        RequestError: The file cannot be read, or a key or value in it is not valid.
    """
    path = folder / FILE
    return decode(Project, read_toml(path), str(path)) if path.exists() else None
