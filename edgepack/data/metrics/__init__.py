"""Metrics by name, one file each, or a callable of the user's own.

A metric judges the first reported output of each run; ``answers`` says how scores and classes are
read from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from edgepack.base import registry
from edgepack.base.errors import RequestError
from edgepack.base.reference import UserCode, load_object
from edgepack.data.answers import Array, Evidence, Labels, Outputs, Reals


class Metric(Protocol):
    """One number for a set of outputs."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller score is the better one."""
        ...

    @property
    def needs_labels(self) -> bool:
        """Whether labels come with the data; else they are the float model's own first outputs."""
        ...

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the score over all samples; both sequences have the same length."""
        ...


@runtime_checkable
class PerSample(Protocol):
    """A metric that is the mean of one score per sample."""

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return the score of each sample, shape ``(n,)``."""
        ...


@runtime_checkable
class Pooled(Protocol):
    """A metric of all positions of all samples together."""

    def evidence(self, outputs: Outputs, labels: Labels) -> Evidence:
        """Read what the metric needs from outputs and labels, once."""
        ...

    def rate(self, values: Array, truth: Array) -> float:
        """Return the score of evidence, or of a part or a resample of it."""
        ...


@dataclass(frozen=True, slots=True)
class Own:
    """A metric of the user: ``(outputs: list[dict], labels: list) -> float``.

    Attributes:
        name: The reference it came from.
        folder: What the reference is relative to.
        call: The user's callable.
        lower_is_better: Its attribute of that name.
    """

    name: str
    folder: Path
    call: Callable[[list[object], list[object]], float]
    lower_is_better: bool = False
    needs_labels: bool = True

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Call it.

        Raises:
            RequestError: It raised, or what it returned is no finite number.
        """
        with UserCode(self.name, self.folder):
            value = self.call([dict(output) for output in outputs], list(labels))
        found = np.asarray(value)
        if found.dtype.kind not in "iuf" or found.size != 1 or not np.isfinite(found).all():
            raise RequestError("E-METRIC", f"{self.name!r} returned {value!r}, not a finite number")
        return float(found.reshape(()))


def load(name: str, folder: Path = Path()) -> Metric:
    """Return the metric called ``name``, or the user's own where ``name`` is a reference.

    Args:
        name: A file of this folder, or ``file.py:name`` or ``pkg.module:name``.
        folder: What a relative reference is relative to.

    Raises:
        RequestError: There is none, or it cannot be called.
    """
    if ":" not in name:
        metric: Metric = registry.find("data.metrics", name)()
        return metric
    call = load_object(name, folder)
    if not callable(call):
        raise RequestError("E-METRIC", f"{name!r} cannot be called", hint="name a function")
    return Own(name, folder, call, bool(getattr(call, "lower_is_better", False)))
