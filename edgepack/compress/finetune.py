"""Train on, with labels alone: to recover what pruning took, or to adapt to the project's data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepack.compress import Context
from edgepack.training.settings import Trained

if TYPE_CHECKING:
    from torch import nn


class Finetune(Trained, frozen=True):
    """Plain training; the weights with the best score on the selection split are kept.

    Weights that are exactly 0 stay so: what pruning removed does not come back.
    """

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Train ``module`` under the loss of the project."""
        from edgepack.training.loop import Plan, hard, train
        from edgepack.training.masks import hold, zeros

        masks = zeros(module)
        plan = Plan(hard(ctx.loss), after=lambda _done, _all: hold(masks))
        yield train(ctx.task("finetune", module, self), self, plan)
