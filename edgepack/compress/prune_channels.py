"""Remove whole channels: the pruning that makes dense kernels faster.

Layers that must lose the same channels (residual adds, depthwise convolutions, batch norms, the
readers of an output) form groups, found by torch-pruning's dependency graph.

Source: Fang et al. 2023, arXiv:2301.12900 (DepGraph), section 3.2; importance of a channel: the sum
of ``rho(w)`` over its weights in the whole group, with ``rho`` as in ``training.penalty``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self

import msgspec

from edgepack.base.errors import RequestError
from edgepack.compress import Context
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

if TYPE_CHECKING:
    from torch import nn

    from edgepack.export.interface import Interface
    from edgepack.training.channels import Shrink

_Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class PruneChannels(Step, frozen=True):
    """Remove the channels of least importance; the shape of the outputs stays.

    Attributes:
        importance: ``rho`` of a weight.
        fraction: Of the channels of each group that are removed.
        macs: Of the multiply-accumulates that are kept; channels then compete over all groups.
        latency: Of the time that the float network takes on a device of the target, one thread,
            that is kept at most: measured, not counted. Channels compete by the seconds they
            save; heads of attention stay whole.
        delta: Where ``huber`` turns from quadratic to linear, in units of a weight.
        round_to: Widths are multiples of this; None for the target's ``channel_multiple``.
        exclude: Names of layers that keep their output channels.
    """

    importance: Literal["l1", "l2", "huber"] = "l2"
    fraction: _Share | None = None
    macs: _Share | None = None
    latency: _Share | None = None
    delta: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    round_to: Annotated[int, msgspec.Meta(ge=1)] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Ask for one aim."""
        if sum(aim is not None for aim in (self.fraction, self.macs, self.latency)) != 1:
            raise ValueError("give one of fraction (removed), macs (kept) and latency (kept)")

    @property
    def asks_clock(self) -> bool:
        """Whether the step measures on a device of the target."""
        return self.latency is not None

    def fit(self, target: Target) -> Self | Skip:
        """Take the block of channels that the target's kernels compute at once."""
        if self.round_to is not None:
            return self
        return msgspec.structs.replace(self, round_to=target.channel_multiple)

    def train(self, module: "nn.Module", ctx: Context) -> Iterator[str]:
        """Remove channels of ``module``; it is not trained here."""
        from edgepack.training.channels import Aim, prune, to_aim
        from edgepack.training.groups import Importance

        importance = Importance(self.importance, self.delta)
        aim = Aim(self.fraction, self.macs, self.round_to or 1)
        shrink = to_aim(aim, importance) if self.latency is None else self._to_latency(ctx)
        yield from prune(module, ctx.example, self.exclude, shrink)

    def _to_latency(self, ctx: Context) -> "Shrink":
        from edgepack.spec.decision import read, write
        from edgepack.training import heads
        from edgepack.training.by_latency import Rules, Shrinking
        from edgepack.training.groups import Importance
        from edgepack.training.layer_time import Table

        clock, share = ctx.clock, self.latency

        def shrink(face: "Interface", kept: "Sequence[nn.Module]") -> None:
            found = heads.find(face, self.round_to or 1)
            whole = [*kept, *found.whole, *found.counts]
            rules = Rules(whole, self.round_to or 1, Importance(self.importance, self.delta))
            if (known := read(ctx.decision)) is not None:
                Shrinking(face, rules).follow(known.steps)
                return
            if clock is None or share is None:
                raise RequestError(
                    "E-REPLAY",
                    "the report holds no channels that were removed by latency",
                    hint="replay with the same recipe",
                )
            shrinking = Shrinking(face, rules, Table(clock.layer))
            ratio = partial(clock.ratio, ctx.teacher, face.module)
            write(ctx.decision, shrinking.approach(share, ratio, ctx.tell))

        return shrink
