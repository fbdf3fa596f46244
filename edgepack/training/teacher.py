"""What a teacher says, as a loss for its student."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from edgepack.base.errors import ModelError
from edgepack.export.faults import RAISED, reason
from edgepack.export.interface import Interface, bind, named_outputs
from edgepack.export.source import load_source
from edgepack.training.loop import Objective
from edgepack.training.losses import Loss, Outputs, class_scores
from edgepack.training.material import Batch


@dataclass(frozen=True, slots=True)
class Teaching:
    """How a student is taught.

    Attributes:
        teacher: In eval mode, frozen.
        temperature: Softens both sides.
        alpha: Weight of the soft loss; the rest is that of the labels.
    """

    teacher: Interface
    temperature: float
    alpha: float


def load(ref: str | None, folder: Path, original: torch.nn.Module, example: object) -> Interface:
    """Return the teacher, ready to be asked.

    Args:
        ref: ``file.py:name`` or ``pkg.module:name``; None for ``original``.
        folder: What a relative file is relative to.
        original: The module before compression.
        example: Inputs of the student, which the teacher must take too.
    """
    teacher = original if ref is None else load_source(ref, folder, None).module
    for parameter in teacher.parameters():
        parameter.requires_grad = False
    return bind(teacher.eval(), example)


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return ``T^2 KL(softmax(teacher / T) || softmax(student / T))``, the mean over rows.

    Args:
        student: Raw scores, shape ``(n, C)``.
        teacher: The same.
        temperature: ``T``.
    """
    wanted = functional.log_softmax(teacher / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    far = functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return far * temperature**2


def objective(teaching: Teaching, student: Interface, loss: Loss) -> Objective:
    """Return what a student makes small.

    Raises:
        ModelError: The teacher does not take the student's inputs, or has other classes.
    """
    _check(teaching.teacher, student)

    def taught(outputs: Outputs, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        wanted = class_scores(_ask(teaching.teacher, batch, student.names))
        soft = soft_loss(class_scores(outputs), wanted, teaching.temperature)
        if teaching.alpha == 1:
            return soft
        return teaching.alpha * soft + (1 - teaching.alpha) * loss(outputs, labels)

    return taught


def _ask(teacher: Interface, batch: Batch, names: tuple[str, ...]) -> Outputs:
    given = [batch[name] for name in names]
    teacher.module.to(given[0].device)
    with torch.no_grad():
        return named_outputs(teacher.call(given), teacher.names)


def _check(teacher: Interface, student: Interface) -> None:
    batch = dict(zip(student.names, student.example, strict=True))
    try:
        theirs = class_scores(_ask(teacher, batch, student.names)).shape
    except RAISED as error:
        raise ModelError(
            "E-TEACHER",
            f"the teacher does not take the inputs of the student: {reason(error)}",
            hint="wrap it in a module with the same forward",
        ) from error
    with torch.no_grad():
        ours = class_scores(named_outputs(student.call(student.example), student.names)).shape
    if ours != theirs or ours[1] < 2:
        raise ModelError(
            "E-TEACHER",
            f"the teacher gives scores {list(theirs)}, the student {list(ours)}: distillation "
            "needs the same classes, two or more",
            hint="let both give raw scores of the same classes as their first output",
        )
