"""Steps on the torch module, one file each; ``apply`` copies the module and keeps the accounts.

torch is imported inside functions only: listing steps and planning a build stay quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from edgepack.base.errors import ModelError
from edgepack.data.metrics import Metric
from edgepack.spec.manifest import StepRecord
from edgepack.spec.signature import Sample
from edgepack.spec.step import Step
from edgepack.spec.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import onnx_ir as ir
    import torch

    from edgepack.data.samples import Dataset
    from edgepack.training.loop import Task
    from edgepack.training.losses import Loss
    from edgepack.training.settings import Trained

    Module: TypeAlias = torch.nn.Module


class Clock(Protocol):
    """Time on a device of the target, one thread."""

    def layer(self, model: bytes, sample: Sample) -> float:
        """Return the seconds of CPU time of one run of an ONNX model."""
        ...

    def ratio(self, before: "Module", after: "Module") -> tuple[float, float, float]:
        """Return the time of ``after`` over that of ``before``, and its 95 % interval."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a step may know besides the module.

    Attributes:
        target: The target it was fitted to.
        example: Example inputs, in any form that ``export.interface.bind`` takes.
        training: Labelled samples; None where the project names none.
        loss: What cross-entropy, or the project's own loss, is.
        metric: What selects weights; None for the loss.
        teacher: A copy of the module before compression, in eval mode, frozen.
        folder: What references in a recipe are relative to.
        checkpoint: File in which this step may keep its state.
        tell: Takes each sentence of progress; what a clock said goes there and is not yielded.
        clock: Where steps that ask for latency measure; None where no device is at hand.
        tell: Takes each sentence of progress.
        write: Exports a module; returns its float graph through the steps of the recipe before
            the one that quantizes, and through that one. None where no step asks for it.
    """

    target: Target
    example: object
    training: "Dataset | None"
    loss: "Loss"
    metric: Metric | None
    teacher: "torch.nn.Module"
    folder: Path
    checkpoint: Path
    tell: "Callable[[str], None]"
    clock: Clock | None = None

    @property
    def decision(self) -> Path:
        """File in which this step keeps what a clock led to."""
        return self.checkpoint.with_suffix(".json")

    write: "Callable[[torch.nn.Module], tuple[ir.Model, ir.Model]] | None" = None

    def task(self, name: str, module: "torch.nn.Module", settings: "Trained") -> "Task":
        """Return what the training loop needs to train ``module``.

        Raises:
            DataError: There are no training data, or they do not serve.
        """
        from edgepack.base.errors import DataError
        from edgepack.export.interface import bind
        from edgepack.training.loop import Task
        from edgepack.training.material import part
        from edgepack.training.score import Judge

        if self.training is None:
            raise DataError(
                "E-TRAIN-DATA",
                f"step {name} trains and there are no training data",
                hint='edgepack.toml: [data] training = "data.py:training"',
            )
        parts = part(self.training, settings.selection, settings.seed)
        if parts.note:
            self.tell(f"{name}: {parts.note}")
        judge = Judge(parts.selection, self.metric, self.loss)
        return Task(name, bind(module, self.example), parts, judge, self.checkpoint, self.tell)


class Compression(Protocol):
    """One step; a frozen Struct whose fields are its parameters."""

    def train(
        self, module: "torch.nn.Module", ctx: Context
    ) -> "Generator[str, None, torch.nn.Module | None]":
        """Change ``module``, a private copy, in place, yielding each change as a sentence.

        A step may return another module in its place.
        """
        ...


def apply(
    step: Step, name: str, module: "torch.nn.Module", ctx: Context
) -> "tuple[torch.nn.Module, StepRecord, tuple[str, ...]]":
    """Run ``step`` on a copy of ``module``; the input is untouched.

    Returns:
        The new module in eval mode, the record for the manifest, and what was done.

    Raises:
        ModelError: The module cannot be copied, or does not serve.
    """
    draft = private_copy(module)
    work: Compression = step  # type: ignore[assignment]  # every file in compress/ is one
    said = list[str]()

    def told() -> "Generator[str, None, None]":
        nonlocal draft
        draft = (yield from work.train(draft, ctx)) or draft

    said += told()
    parameters: Mapping[str, object] = msgspec.to_builtins(step)
    return draft.eval(), StepRecord(name, dict(parameters), len(said)), tuple(said)


def private_copy(module: "torch.nn.Module") -> "torch.nn.Module":
    """Return a copy of ``module``, in eval mode, that shares no tensor with it.

    Raises:
        ModelError: torch cannot copy it.
    """
    import copy

    try:
        return copy.deepcopy(module).eval()
    except (RuntimeError, TypeError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            "E-COMPRESS-COPY",
            f"the module cannot be copied, and yours is never changed in place: {error}",
            hint="keep computed tensors out of its attributes; use torch.nn.utils.parametrizations",
        ) from error
