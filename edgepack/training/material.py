"""Training data as tensors in memory, and the part of them that selects and is not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepack.base.errors import DataError, ModelError
from edgepack.data.samples import Dataset
from edgepack.data.split import hold_out

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Material:
    """Samples stacked along axis 0.

    Attributes:
        inputs: Input name -> tensor, shape ``(n, ...)``.
        labels: Shape ``(n, ...)``; integers as int64, reals as float32.
    """

    inputs: Batch
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def batch(self, rows: torch.Tensor | slice) -> tuple[Batch, torch.Tensor]:
        """Return the samples at ``rows`` and their labels."""
        return {name: tensor[rows] for name, tensor in self.inputs.items()}, self.labels[rows]


@dataclass(frozen=True, slots=True)
class Parts:
    """Training data in two parts that share no sample and no group.

    Attributes:
        fit: Trained on.
        selection: Selects: early stopping, best weights.
        note: A sentence where the parts are not as independent as they should be.
    """

    fit: Material
    selection: Material
    note: str = ""


def part(dataset: Dataset, fraction: float, seed: int) -> Parts:
    """Hold out a fraction of the training data for selection, by whole groups.

    Raises:
        DataError: There are fewer than two samples, or they cannot be stacked.
    """
    if len(dataset) < 2:
        raise DataError(
            "E-TRAIN-DATA",
            f"{len(dataset)} training samples in {dataset.name!r}: one trains, another selects",
            hint="[data] training = REF with many samples",
        )
    split = hold_out(dataset, fraction, seed)
    return Parts(stack(split.fit), stack(split.held), split.note)


def stack(dataset: Dataset) -> Material:
    """Read a labelled data set into memory.

    Raises:
        ModelError: Items are sequences of a model that carries state.
        DataError: Samples or labels have different shapes.
    """
    rows: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {}
    labels = []
    for item in dataset:
        if len(item.samples) != 1:
            raise ModelError(
                "E-TRAIN-STATE",
                "the model carries state from run to run, which training here cannot",
                hint="train it outside, and let the recipe hold [[graph]] steps only",
            )
        sample = item.samples[0]
        for name, array in sample.items():
            rows.setdefault(name, []).append(np.asarray(array))
        labels.append(item.labels[0])
    inputs = {name: _joined(arrays, name, dataset.name) for name, arrays in rows.items()}
    counts = {len(tensor) for tensor in inputs.values()}
    stacked = _stacked(labels, dataset.name)
    if counts != {len(stacked)}:
        stacked = stacked.flatten(0, 1) if stacked.ndim > 1 else stacked
    if counts != {len(stacked)}:
        raise DataError(
            "E-DATA-SHAPE",
            f"{dataset.name!r}: {len(stacked)} labels for {sorted(counts)} rows of training data",
            hint="yield one sample of batch 1 with one label at a time",
        )
    return Material(inputs, stacked)


def _joined(arrays: Sequence[np.ndarray], name: str, where: str) -> torch.Tensor:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise DataError(
            "E-DATA-SHAPE",
            f"{where!r}: {name!r} has shapes {sorted(shapes)[:3]}, a batch needs one",
            hint="pad or crop the training samples to one shape",
        )
    return torch.from_numpy(np.concatenate(arrays))


def _stacked(labels: Sequence[np.ndarray], where: str) -> torch.Tensor:
    shapes, kinds = {label.shape for label in labels}, {label.dtype.kind for label in labels}
    if len(shapes) > 1 or not kinds <= {"i", "f"}:
        raise DataError(
            "E-DATA-LABELS",
            f"{where!r}: labels of shapes {sorted(shapes)[:3]} cannot be trained on",
            hint="numbers, all of one shape",
        )
    stacked = torch.from_numpy(np.stack(labels))
    return stacked if stacked.dtype == torch.int64 else stacked.float()
