"""Graph passes: each edits a private copy and explains every edit; ``apply`` does the rest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.calibration.moments import Moments
from edgepack.calibration.rows import Rows
from edgepack.calibration.statistics import Statistics
from edgepack.graph.census import signature
from edgepack.graph.constants import drop_unread
from edgepack.graph.copying import private_copy
from edgepack.graph.names import name_apart
from edgepack.quantization.learned import Learned
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

Keeps = Literal["values", "interface"]

__all__ = ["Context", "Edit", "Keeps", "Pass", "PassReport", "Skip", "Step", "apply"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change, or one deliberate abstention, for people.

    Attributes:
        where: Name of a node or a tensor, or ``graph``.
        what: A sentence.
        left: Whether this says why a node was left in float.
    """

    where: str
    what: str
    left: bool = False


class Measure(Protocol):
    """Collects statistics of tensors of a model; bound to the calibration data by the build."""

    def __call__(self, model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, Statistics]:
        """Return the statistics of each named tensor of ``model``."""
        ...


class Second(Protocol):
    """Collects second moments of inputs; bound to the calibration data by the build."""

    def __call__(self, model: ir.Model, nodes: tuple[str, ...], /) -> Mapping[str, Moments]:
        """Return the moments of what each named node of ``model`` multiplies by its weight.

        A node that has too many inputs is missing from them; see ``moments.too_wide``.
        """
        ...


class Power(Protocol):
    """Collects mean squares of inputs; bound to the calibration data by the build."""

    def __call__(
        self, model: ir.Model, nodes: tuple[str, ...], /
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        """Return the mean squares ``(groups, K)`` of what each node multiplies by its weight."""
        ...


class Choose(Protocol):
    """Picks a range method for each tensor; bound to a few calibration samples by the build."""

    def __call__(self, model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, str]:
        """Return the name of a method for each named tensor of ``model``."""
        ...


class Replay(Protocol):
    """Gives rows of tensors; bound to a few calibration samples by the build."""

    def __call__(
        self, model: ir.Model, tensors: tuple[str, ...], /
    ) -> Mapping[str, tuple[Rows, ...]]:
        """Return each tensor as rows ``[n, last axis]``, one array per run."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a pass may know besides the model.

    Attributes:
        target: The target it was fitted to.
        measure: Runs the calibration data through a model; None where there are none.
        choose: Picks range methods by what they cost; None where nobody asked for it.
        rows: Shows what stands in tensors on a few samples; None where there are none.
        spared: Nodes, by name, that the gate of accuracy or of speed keeps out of int8, and what
            they compute in: ``int16``, ``float32``, or ``float``, as wide as other steps leave it.
        second: Runs the calibration data for second moments; None where there are none.
        power: Runs them for mean squares, which take far less; None where there are none.
        learned: Scales that belong to the trained weights; empty where nothing was trained so.
    """

    target: Target
    measure: Measure | None = None
    choose: Choose | None = None
    rows: Replay | None = None
    spared: Mapping[str, str] = field(default_factory=dict)
    second: Second | None = None
    power: Power | None = None
    learned: Learned = field(default_factory=Learned)


class Pass(Protocol):
    """One transformation; a frozen Struct whose fields are its parameters.

    ``keeps`` is a promise that tests hold it to: "values" (same outputs up to float rounding) or
    "interface" (same names, dtypes and shapes only).
    """

    keeps: ClassVar[Keeps]

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Edit ``model`` in place, yielding each edit as it is made."""
        ...


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass was given and what it did."""

    name: str
    parameters: Mapping[str, object]
    edits: tuple[Edit, ...]


def apply(step: Step, name: str, model: ir.Model, ctx: Context) -> tuple[ir.Model, PassReport]:
    """Run ``step`` on a copy of ``model``; the input is untouched.

    Afterwards names are unique, whatever the model called its tensors, and constants that the
    step left without a reader are gone.

    Raises:
        AssertionError: The step changed the interface of the model; the bug is ours.
    """
    draft = private_copy(model)
    work: Pass = step  # type: ignore[assignment]  # every file in passes/ is one; a law test checks
    edits = tuple(work.rewrite(draft, ctx))
    drop_unread(draft.graph)
    name_apart(draft)
    assert signature(draft) == signature(model), f"{name} changed the interface of the model"
    parameters = msgspec.to_builtins(step)
    return draft, PassReport(name, parameters, edits)
