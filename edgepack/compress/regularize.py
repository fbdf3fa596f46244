"""Prune by regularization: train with a penalty on the weights, then remove what fell below.

The loss is ``L + strength * R(w)``, with ``R`` one of
l1     ``sum |w|``, entries;                 Han et al. 2015, arXiv:1506.02626, section 3.1
l2     ``sum_c sqrt(n_c) ||w_c||_2``, whole output channels;
                                             Wen et al. 2016, arXiv:1608.03665, eq. (3)
huber  ``sum huber_delta(w)``, entries: small weights are pushed gently, large ones boundedly;
                                             Huber 1964, eq. (1.2)
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from edgepack.compress import Context
from edgepack.training.settings import Trained

if TYPE_CHECKING:
    from torch import nn


class Regularize(Trained, frozen=True):
    """Train with a penalty; zero the entries (of ``l2``: the channels) that fell below.

    The last weights are kept, not the best: a penalty has done its work at the end. What is zero
    stays zero in later steps; ``prune_channels`` removes channels of zeros first.

    Attributes:
        penalty: ``R``.
        strength: Its factor at the end.
        ramp: Share of the steps in which the factor rises from 0, in a line.
        delta: Where ``huber`` turns from quadratic to linear.
        threshold: Entries below this fraction of the largest of their tensor are zeroed; for
            ``l2``, channels whose norm is below this fraction of the largest norm.
    """

    penalty: Literal["l1", "l2", "huber"] = "l1"
    strength: Annotated[float, msgspec.Meta(gt=0)] = 1e-4
    ramp: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    delta: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Train ``module`` with the penalty and zero what fell below the threshold."""
        from edgepack.training.loop import Plan, train
        from edgepack.training.penalized import Penalty, zero

        penalty = Penalty(module, (self.penalty, self.delta), self.strength, self.ramp)
        plan = Plan(penalty.added_to(ctx.loss), keep="last", after=penalty.after)
        yield train(ctx.task("regularize", module, self), self, plan)
        yield zero(module, self.penalty, self.threshold)
