"""Zeros that stay zero: masks of weights, held through later training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PRUNED = 0.05
"""Fraction of exact zeros from which a weight counts as pruned: training alone leaves none."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Which entries of one weight live.

    Attributes:
        weight: The parameter itself.
        alive: Boolean, of its shape.
    """

    weight: torch.nn.Parameter
    alive: torch.Tensor


def zeros(module: torch.nn.Module) -> tuple[Mask, ...]:
    """Return masks of the zeros that a pruned module holds in its weight matrices."""
    found = []
    for parameter in module.parameters():
        alive = parameter.detach() != 0
        if parameter.ndim > 1 and alive.float().mean() <= 1 - PRUNED and alive.any():
            found.append(Mask(parameter, alive))
    return tuple(found)


def hold(masks: Sequence[Mask]) -> None:
    """Set what is masked back to zero, wherever an optimizer moved it."""
    with torch.no_grad():
        for mask in masks:
            mask.weight.mul_(mask.alive.to(mask.weight.device))
