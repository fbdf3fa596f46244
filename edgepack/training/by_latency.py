"""Remove channels until a network is as fast as asked, measured where it will run.

A block of channels goes where it costs least per second that the table of layers says it saves.
The cost is ``-log(1 - s)``, with ``s`` the share of its group's importance: it adds up over steps,
and grows without bound as a group vanishes, so that no layer becomes a bottleneck before the others
are narrow. Then the whole network is timed against the original, and more goes until the upper end
of that interval is below what was asked.
Source: Yang et al. 2018, arXiv:1804.03230 (NetAdapt), algorithm 1, with importance in place of
short-term training.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgepack.base import units
from edgepack.base.errors import ModelError, RequestError
from edgepack.export.interface import Interface
from edgepack.spec.decision import Removal, Removed
from edgepack.training.groups import LAYERS, Importance, dependencies, understood
from edgepack.training.layer_time import Layer, Table, layers

_BLOCKS = 4
"""Blocks of one group weighed together: a single one may lie on a step and save nothing."""

Ratio = Callable[[], tuple[float, float, float]]
"""Time of the network as it is over the original's, and the interval of that."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go.

    Attributes:
        kept: Layers that keep their output channels.
        multiple: What widths are multiples of.
        importance: Of a channel.
    """

    kept: Iterable[nn.Module]
    multiple: int
    importance: Importance


class Shrinking:
    """A network from which channels go block by block."""

    def __init__(self, face: Interface, rules: Rules, table: Table | None = None) -> None:
        """Look at the network as it is; only ``approach`` needs the table."""
        self._face, self._rules, self._table = face, rules, table
        self._names = {m: n for n, m in face.module.named_modules() if isinstance(m, LAYERS)}
        self._graph = dependencies(face)
        self._layers = dict(layers(face))
        self._whole = 0.0
        self.removed: list[Removal] = []

    def follow(self, removed: Iterable[Removal]) -> None:
        """Remove what an earlier measurement led to.

        Raises:
            RequestError: It was made on another network.
        """
        modules = {name: module for module, name in self._names.items()}
        for each in removed:
            root = modules.get(each.layer)
            if root is None or not 0 < each.channels < _width(root):
                raise RequestError(
                    "E-REPLAY",
                    f"the report removes {each.channels} channels of {each.layer!r}, which this "
                    "module does not have",
                    hint="replay with the same model and recipe",
                )
            self._remove(self._group(root, each.channels), each)

    def approach(self, share: float, ratio: Ratio, tell: Callable[[str], None]) -> Removed:
        """Remove blocks until the network takes at most ``share`` of the original's time.

        Raises:
            ModelError: What can be removed is not enough.
        """
        self._whole, goal, best = self._seconds(self._layers), share, math.inf
        while True:
            self._bring_below(goal, best)
            found, low, high = ratio()
            best = min(best, high)
            estimated = self._share
            tell(
                f"{found:.3f} [{low:.3f}, {high:.3f}] of the original's time, "
                f"{estimated:.3f} by the table of layers"
            )
            if high <= share:
                return Removed(tuple(self.removed), found, (low, high))
            goal = estimated * min(share / high, 0.98)

    @property
    def _share(self) -> float:
        """Time of all layers as they are, of that at the beginning."""
        return self._seconds(self._layers) / self._whole

    def _seconds(self, named: Mapping[str, tuple[Layer, ...]]) -> float:
        assert self._table is not None, "followed, not measured"
        return sum(self._table(layer) for calls in named.values() for layer in calls)

    def _bring_below(self, goal: float, best: float) -> None:
        while self._share > goal:
            found = max(self._offers(), key=lambda offer: offer[0], default=None)
            if found is None:
                reached = "" if best == math.inf else f"; the network took {best:.3f} of its"
                possible = min(best, 1.0) if reached else self._share
                raise ModelError(
                    "E-PRUNE",
                    f"the layers alone still take {units.percent(self._share, 0)} of their time "
                    f"with all removed that may go{reached}",
                    hint=f"latency = {math.ceil(possible * 100) / 100:g} or more, or a smaller "
                    "round_to",
                )
            self._remove(*found[1:])

    def _offers(self) -> Iterator[tuple[float, Any, Removal]]:
        """Yield what could go next: seconds saved per importance lost, the group, the removal."""
        with understood(self._face.module):
            groups = list(self._graph.get_all_groups(list(self._rules.kept), LAYERS))
        for group in groups:
            root = group[0].dep.target.module
            if not all(_simple(dep.target.module) for dep, _ in group):
                continue
            worth = self._rules.importance(group)
            order = torch.argsort(worth, stable=True)
            for channels in _amounts(_width(root), self._rules.multiple):
                offered = self._group(root, channels, order)
                saved = self._seconds(self._layers) - self._seconds(self._after(offered))
                lost = -math.log1p(-float(worth[order[:channels]].sum() / worth.sum()))
                if saved > 0:
                    yield saved / max(lost, 1e-12), offered, Removal(self._names[root], channels)

    def _group(self, root: nn.Module, channels: int, order: torch.Tensor | None = None) -> Any:
        prune = self._graph.get_pruner_of_module(root).prune_out_channels
        with understood(self._face.module):
            if order is None:
                every = self._graph.get_pruning_group(root, prune, list(range(_width(root))))
                order = torch.argsort(self._rules.importance(every), stable=True)
            return self._graph.get_pruning_group(root, prune, order[:channels].tolist())

    def _after(self, group: Any) -> dict[str, tuple[Layer, ...]]:
        """Return the layers as they would be without a group."""
        found = dict(self._layers)
        for dep, channels in group:
            name = self._names.get(dep.target.module)
            if name not in found:
                continue
            out = self._graph.is_out_channel_pruning_fn(dep.handler)
            fewer = (0, len(channels)) if out else (len(channels), 0)
            found[name] = tuple(layer.narrowed(*fewer) for layer in found[name])
        return found

    def _remove(self, group: Any, removal: Removal) -> None:
        self._layers = self._after(group)
        with understood(self._face.module):
            group.prune()
        self.removed.append(removal)


def _width(layer: nn.Module) -> int:
    assert isinstance(layer.weight, torch.Tensor)
    return len(layer.weight)


def _amounts(width: int, multiple: int) -> Iterator[int]:
    """Yield how many channels may go so that a multiple of ``multiple`` stays."""
    first = width % multiple or multiple
    for number in range(_BLOCKS):
        if width - (first + number * multiple) >= multiple:
            yield first + number * multiple


def _simple(module: nn.Module) -> bool:
    """Whether channels of a layer are alike: those of a grouped convolution belong together."""
    groups = getattr(module, "groups", 1)
    return groups == 1 or groups == getattr(module, "out_channels", groups)
