"""Train a student under a teacher: the module before compression, or any other.

``softmax``   ``T^2 KL(softmax(t / T) || softmax(s / T))``: soft targets alone.
``kd``        ``alpha`` times that plus ``(1 - alpha)`` times the hard loss on the labels.
``finetune``  the loss of ``kd`` for a student that starts from the teacher's weights: from what
              pruning left of them where the teacher is the module before compression, else from
              the tensors that have the same name and shape in both, as a student with fewer
              layers has.

Sources: Hinton et al. 2015, arXiv:1503.02531, section 2 (T^2 keeps the size of the gradients);
Sanh et al. 2019, arXiv:1910.01108, section 2 (start from the teacher's layers); Romero et al. 2015,
arXiv:1412.6550, eq. (3) (features).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from edgepack.compress import Context
from edgepack.training.settings import Trained

if TYPE_CHECKING:
    from torch import nn


class Distill(Trained, frozen=True):
    """Train under a teacher; the weights with the best score on the selection split are kept.

    Weights that are exactly 0 stay so: what pruning removed does not come back.

    Attributes:
        method: The form of the loss.
        temperature: ``T``.
        alpha: Weight of the soft loss.
        teacher: ``file.py:name`` of a callable that returns a module in its final state; None for
            the module before compression.
        features: Layer of the student -> layer of the teacher whose output it should give, after
            a learnt projection of its channels.
        feature_weight: Of their mean squared distance, relative to the teacher's mean square.
    """

    method: Literal["softmax", "kd", "finetune"] = "kd"
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 4.0
    alpha: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    teacher: str | None = None
    features: dict[str, str] = {}
    feature_weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Train ``module`` under the teacher."""
        from contextlib import nullcontext

        from edgepack.training.features import Matching
        from edgepack.training.loop import Plan, train
        from edgepack.training.masks import hold, zeros
        from edgepack.training.teacher import Teaching, load, objective, start_from

        task = ctx.task("distill", module, self)
        teacher = load(self.teacher, ctx.folder, ctx.teacher, ctx.example)
        if self.method == "finetune" and self.teacher is not None:
            yield start_from(module, teacher.module)
        matching = Matching(task.interface, teacher, self.features) if self.features else None
        alpha = 1.0 if self.method == "softmax" else self.alpha
        teaching = Teaching(teacher, self.temperature, alpha, matching, self.feature_weight)
        taught, masks = objective(teaching, task.interface, ctx.loss), zeros(module)
        with matching.attached(self.seed) if matching else nullcontext():
            yield train(task, self, Plan(taught, after=lambda _done, _all: hold(masks)))
