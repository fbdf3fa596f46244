"""Zero the weights that are least, at once or step by step while training.

Sources: Han et al. 2015, arXiv:1506.02626, section 3 (magnitude); Zhu and Gupta 2017,
arXiv:1710.01878, eq. (1) (cubic schedule); Mishra et al. 2021, arXiv:2104.08378 (N:M).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from edgepack.compress import Context
from edgepack.training.settings import Trained

if TYPE_CHECKING:
    from torch import nn


class PruneMagnitude(Trained, frozen=True):
    """Zero entries of weight matrices and kernels; their shapes stay.

    Zeros make a file smaller when packed, and kernels faster only where they exploit the pattern.

    Attributes:
        importance: ``rho`` of an entry, or the sum over a block of ``1x4``. One tensor's entries
            are ranked alike by all three; sums over blocks are not.
        fraction: Of the entries that are zeroed; for ``2:4`` it is a half.
        scope: Whether each tensor loses that fraction, or all of them together.
        pattern: ``unstructured``; ``2:4``: two of every four along the inputs; ``1x4``: blocks of
            four along the inputs.
        delta: Where ``huber`` turns from quadratic to linear.
        schedule_of_zeros: ``once`` zeroes, then trains ``epochs`` with the masks held; ``cubic``
            lets zeros grow over the first two thirds of the steps as
            ``s_t = s (1 - (1 - t / n)^3)``.
        min_size: Tensors with fewer entries are left alone.
    """

    importance: Literal["l1", "l2", "huber"] = "l1"
    fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    scope: Literal["tensor", "global"] = "tensor"
    pattern: Literal["unstructured", "2:4", "1x4"] = "unstructured"
    delta: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    schedule_of_zeros: Literal["once", "cubic"] = "once"
    min_size: Annotated[int, msgspec.Meta(ge=1)] = 64

    def __post_init__(self) -> None:
        """Hold 2:4 to what it is."""
        if self.pattern == "2:4" and (self.fraction != 0.5 or self.scope != "tensor"):
            raise ValueError("pattern 2:4 has fraction 0.5 in every tensor")

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Zero entries and train with the masks held."""
        from edgepack.training.loop import Plan, hard, train
        from edgepack.training.magnitude import Growing, Rule

        rule = Rule((self.importance, self.delta), self.pattern, self.scope, self.min_size)
        growing = Growing(module, rule, self.fraction, cubic=self.schedule_of_zeros == "cubic")
        first = -(-2 * self.epochs // 3) if self.schedule_of_zeros == "cubic" else 0
        plan = Plan(hard(ctx.loss), after=growing.after, resumed=growing.resumed, first=first)
        growing.begin()
        trained = train(ctx.task("prune_magnitude", module, self), self, plan)
        yield growing.summary()
        yield trained
