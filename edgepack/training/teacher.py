"""What a teacher says, as a loss for its student."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from edgepack.base.errors import ModelError
from edgepack.export.faults import RAISED, reason
from edgepack.export.interface import Interface, bind, named_outputs
from edgepack.export.source import load_source
from edgepack.training.features import Matching
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
        features: What inside the networks should agree too; None for nothing.
        feature_weight: Of that, beside the rest.
    """

    teacher: Interface
    temperature: float
    alpha: float
    features: Matching | None = None
    feature_weight: float = 0.0


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
        total = teaching.alpha * soft_loss(class_scores(outputs), wanted, teaching.temperature)
        if teaching.alpha < 1:
            total = total + (1 - teaching.alpha) * loss(outputs, labels)
        if teaching.features is not None:
            total = total + teaching.feature_weight * teaching.features.loss()
        return total

    return taught


def start_from(student: torch.nn.Module, teacher: torch.nn.Module) -> str:
    """Copy the teacher's tensors into a student that has tensors of those names and shapes.

    Raises:
        ModelError: It has none.
    """
    ours, theirs = student.state_dict(), teacher.state_dict()
    fitting = {n: t for n, t in theirs.items() if n in ours and ours[n].shape == t.shape}
    if not fitting:
        raise ModelError(
            "E-TEACHER",
            "no tensor of the teacher has the name and shape of one of the student: it cannot "
            "start from the teacher's weights",
            hint='method = "kd" trains it from its own',
        )
    student.load_state_dict(fitting, strict=False)
    return f"starts from {len(fitting)} of its {len(ours)} tensors in the teacher"


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
