"""Remove whole channels: the pruning that makes dense kernels faster.

Layers that must lose the same channels (residual adds, depthwise convolutions, batch norms, the
readers of an output) form groups, found by torch-pruning's dependency graph.

Source: Fang et al. 2023, arXiv:2301.12900 (DepGraph), section 3.2; importance of a channel: the sum
of ``rho(w)`` over its weights in the whole group, with ``rho`` as in ``training.penalty``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

import msgspec

from edgepack.compress import Context
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

if TYPE_CHECKING:
    from torch import nn

_Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class PruneChannels(Step, frozen=True):
    """Remove the channels of least importance; the shape of the outputs stays.

    Attributes:
        importance: ``rho`` of a weight.
        fraction: Of the channels of each group that are removed.
        macs: Of the multiply-accumulates that are kept; channels then compete over all groups.
        delta: Where ``huber`` turns from quadratic to linear, in units of a weight.
        round_to: Widths are multiples of this; None for the target's ``channel_multiple``.
        exclude: Names of layers that keep their output channels.
    """

    importance: Literal["l1", "l2", "huber"] = "l2"
    fraction: _Share | None = None
    macs: _Share | None = None
    delta: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    round_to: Annotated[int, msgspec.Meta(ge=1)] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Ask for one aim."""
        if (self.fraction is None) == (self.macs is None):
            raise ValueError("give one of fraction (removed) and macs (kept)")

    def fit(self, target: Target) -> Self | Skip:
        """Take the block of channels that the target's kernels compute at once."""
        if self.round_to is not None:
            return self
        return msgspec.structs.replace(self, round_to=target.channel_multiple)

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Remove channels of ``module``; it is not trained here."""
        from edgepack.training.channels import Aim, prune

        aim = Aim(self.fraction, self.macs, self.round_to or 1, self.exclude)
        yield from prune(module, ctx.example, aim, (self.importance, self.delta))
