"""Masks by magnitude: which entries of which weights become zero, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgepack.base import units
from edgepack.base.errors import ModelError
from edgepack.training.masks import Mask, hold
from edgepack.training.penalty import Kind, rho

Pattern = Literal["unstructured", "2:4", "1x4"]

_GROWTH = 2 / 3
"""Share of the training in which zeros grow; the rest is recovery."""

_BLOCK = 4
"""Entries of a block, of 2:4 as of 1x4."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is zeroed first.

    Attributes:
        importance: ``rho`` and its ``delta``.
        pattern: Shape of the zeros.
        scope: What competes.
        min_size: Tensors with fewer entries are left alone.
    """

    importance: tuple[Kind, float]
    pattern: Pattern
    scope: Literal["tensor", "global"]
    min_size: int


def masks(weights: Sequence[nn.Parameter], rule: Rule, fraction: float) -> tuple[Mask, ...]:
    """Return which entries live when ``fraction`` of them are zeroed; ties fall to the later."""
    scores = [_scores(weight.detach(), rule) for weight in weights]
    if rule.pattern == "2:4":
        alive = [
            score.argsort(dim=1, descending=True, stable=True).argsort(dim=1) < 2
            for score in scores
        ]
    elif rule.scope == "tensor":
        alive = [_most(score.flatten(), fraction).reshape(score.shape) for score in scores]
    else:
        together = _most(torch.cat([score.flatten() for score in scores]), fraction)
        parts = torch.split(together, [score.numel() for score in scores])
        alive = [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]
    return tuple(
        Mask(weight, _spread(part, weight)) for part, weight in zip(alive, weights, strict=True)
    )


def prunable(module: nn.Module, rule: Rule) -> list[nn.Parameter]:
    """Return the weights that the rule can be applied to.

    Raises:
        ModelError: There is none.
    """
    found = [
        parameter
        for parameter in module.parameters()
        if parameter.requires_grad
        and parameter.ndim > 1
        and parameter.numel() >= rule.min_size
        and (rule.pattern == "unstructured" or parameter.shape[1] % _BLOCK == 0)
    ]
    if not found:
        raise ModelError(
            "E-PRUNE",
            f"no weight of {rule.min_size} or more entries takes the pattern {rule.pattern!r}",
            hint="lower min_size, or pattern = 'unstructured'",
        )
    return found


class Growing:
    """Zeros that are there from the start, or grow while a module is trained."""

    def __init__(self, module: nn.Module, rule: Rule, fraction: float, *, cubic: bool) -> None:
        """Prepare masks for ``module``; nothing is zeroed yet."""
        self._weights = prunable(module, rule)
        self._rule, self._fraction, self._cubic = rule, fraction, cubic
        self._masks: tuple[Mask, ...] = ()

    def begin(self) -> None:
        """Zero what is zero from the start."""
        if not self._cubic:
            self._masks = masks(self._weights, self._rule, self._fraction)
            hold(self._masks)

    def resumed(self) -> None:
        """Find the zeros again that a checkpoint holds."""
        self._masks = tuple(Mask(weight, weight.detach() != 0) for weight in self._weights)

    def after(self, done: int, steps: int) -> None:
        """Hold the zeros after a step, and add those that are due."""
        if self._cubic:
            share = min(done / (_GROWTH * steps), 1.0)
            if share < 1 or not self._masks:
                hold(self._masks)
                due = self._fraction * (1 - (1 - share) ** 3)
                self._masks = masks(self._weights, self._rule, due)
        hold(self._masks)

    def summary(self) -> str:
        """Say how many entries are zero."""
        zero = sum(int((weight == 0).sum()) for weight in self._weights)
        count = sum(weight.numel() for weight in self._weights)
        share = units.percent(zero / count, 1)
        return f"{share} of {count} weights in {len(self._weights)} tensors are 0"


def _scores(weight: torch.Tensor, rule: Rule) -> torch.Tensor:
    """Return the importance of each entry, or of each block, in rows."""
    size = rho(weight.cpu(), *rule.importance)
    if rule.pattern == "unstructured":
        return size
    rows = size.movedim(1, -1).reshape(-1, _BLOCK)  # along the inputs, axis 1
    return rows if rule.pattern == "2:4" else rows.sum(1)


def _spread(alive: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if alive.shape == weight.shape:
        return alive
    if alive.numel() < weight.numel():
        alive = alive.repeat_interleave(_BLOCK)
    return alive.reshape(weight.movedim(1, -1).shape).movedim(-1, 1).contiguous()


def _most(scores: torch.Tensor, fraction: float) -> torch.Tensor:
    drop = round(fraction * len(scores))
    alive = torch.ones(len(scores), dtype=torch.bool)
    alive[scores.argsort(stable=True)[:drop]] = False
    return alive
