"""Train a student under a teacher: the module before compression, or any other.

``softmax``   ``T^2 KL(softmax(t / T) || softmax(s / T))``: soft targets alone.
``kd``        ``alpha`` times that plus ``(1 - alpha)`` times the hard loss on the labels.
``finetune``  the loss of ``kd`` for a student that starts from the teacher's weights, or from those
              that pruning left of them: both are where the recipe has brought the module.

Source: Hinton et al. 2015, arXiv:1503.02531, section 2 (T^2 keeps the size of the gradients).
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
    """

    method: Literal["softmax", "kd", "finetune"] = "kd"
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 4.0
    alpha: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    teacher: str | None = None

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Train ``module`` under the teacher."""
        from edgepack.training.loop import Plan, train
        from edgepack.training.masks import hold, zeros
        from edgepack.training.teacher import Teaching, load, objective

        task = ctx.task("distill", module, self)
        teacher = load(self.teacher, ctx.folder, ctx.teacher, ctx.example)
        alpha = 1.0 if self.method == "softmax" else self.alpha
        teaching = Teaching(teacher, self.temperature, alpha)
        masks = zeros(module)
        plan = Plan(
            objective(teaching, task.interface, ctx.loss),
            after=lambda _done, _all: hold(masks),
        )
        yield train(task, self, plan)
