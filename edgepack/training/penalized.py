"""A penalty on weights while training, and the removal of what it pushed to nothing."""

import torch
from torch import nn

from edgepack.base import units
from edgepack.base.errors import ModelError
from edgepack.training.loop import Objective
from edgepack.training.losses import Loss, Outputs
from edgepack.training.material import Batch
from edgepack.training.penalty import Kind, group_norm, rho


def penalized(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a penalty acts on: matrices and kernels, no biases or norms.

    Raises:
        ModelError: There is none.
    """
    found = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    if not found:
        raise ModelError("E-PRUNE", "the module has no weights that a penalty could push")
    return found


class Penalty:
    """``strength * R(w)``, rising over the first steps."""

    def __init__(
        self, module: nn.Module, kind: tuple[Kind, float], strength: float, ramp: float
    ) -> None:
        """Prepare a penalty on ``module``."""
        self._weights = penalized(module)
        self._kind, self._strength, self._ramp = kind, strength, ramp
        self._share = 0.0 if ramp else 1.0

    def after(self, done: int, steps: int) -> None:
        """Raise the factor for the next step."""
        self._share = min(done / (self._ramp * steps), 1.0) if self._ramp else 1.0

    def added_to(self, loss: Loss) -> Objective:
        """Return the loss of the labels with the penalty."""

        def objective(outputs: Outputs, _batch: Batch, labels: torch.Tensor) -> torch.Tensor:
            return loss(outputs, labels) + self._strength * self._share * self.value()

        return objective

    def value(self) -> torch.Tensor:
        """Return ``R(w)``, a scalar."""
        kind, delta = self._kind
        parts = [
            group_norm(weight) if kind == "l2" else rho(weight, kind, delta).sum()
            for weight in self._weights
        ]
        return torch.stack(parts).sum()


def zero(module: nn.Module, kind: Kind, threshold: float) -> str:
    """Zero what lies below ``threshold`` of the largest of its tensor; say how much."""
    weights, count, zeros = penalized(module), 0, 0
    with torch.no_grad():
        for weight in weights:
            size = weight.abs()
            if kind == "l2":
                size = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
            weight.mul_((size >= threshold * size.max()).to(weight.dtype))
            count += weight.numel()
            zeros += int((weight == 0).sum())
    return f"{units.percent(zeros / count, 1)} of {count} weights fell below and are 0"
