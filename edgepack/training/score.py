"""How good is a module on the selection split, by the metric of the build."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgepack.data.metrics import Metric
from edgepack.training.losses import Loss, Outputs
from edgepack.training.material import Batch, Material

_ROWS = 256
"""Samples per call; only memory depends on it."""

Ask = Callable[[Batch], Outputs]


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores on samples that nothing is trained on; not those that the build reports.

    Attributes:
        material: The selection split.
        metric: None, or one that needs no labels: the loss is the score then.
        loss: The training loss.
    """

    material: Material
    metric: Metric | None
    loss: Loss

    @property
    def name(self) -> str:
        """What the score is called."""
        return "loss" if self._metric is None else self._metric.name

    @property
    def count(self) -> int:
        """Samples in the selection split."""
        return len(self.material)

    @property
    def _metric(self) -> Metric | None:
        return self.metric if self.metric is not None and self.metric.needs_labels else None

    def better(self, a: float, b: float) -> bool:
        """Whether score ``a`` is better than ``b``."""
        metric = self._metric
        return a < b if metric is None or metric.lower_is_better else a > b

    def score(self, ask: Ask) -> float:
        """Return the score of what ``ask`` answers; a loss is averaged over samples."""
        outputs: list[dict[str, object]] = []
        total = 0.0
        for start in range(0, self.count, _ROWS):
            batch, labels = self.material.batch(slice(start, start + _ROWS))
            found = {name: tensor.cpu() for name, tensor in ask(batch).items()}
            if self._metric is None:
                total += float(_graphless(self.loss, found, labels)) * len(labels)
                continue
            rows = {name: tensor.numpy() for name, tensor in found.items()}
            outputs += [
                {name: array[index : index + 1] for name, array in rows.items()}
                for index in range(len(labels))
            ]
        if self._metric is None:
            return total / self.count
        return self._metric.score(outputs, list(self.material.labels.numpy()))  # type: ignore[arg-type]


def _graphless(loss: Loss, outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
    """Call the loss outside training; one of the user's may ask for a graph of gradients."""
    with torch.enable_grad():
        asked = {name: t.requires_grad_() for name, t in outputs.items() if t.is_floating_point()}
        return loss({**outputs, **asked}, labels).detach()
