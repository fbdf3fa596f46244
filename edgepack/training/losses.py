"""What training makes small: cross-entropy, or the project's own ``loss``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from edgepack.base.errors import DataError, RequestError
from edgepack.base.reference import UserCode, load_object

Outputs = Mapping[str, torch.Tensor]
Loss = Callable[[Outputs, torch.Tensor], torch.Tensor]
"""Named outputs of a batch and its labels -> the mean loss, a scalar."""


def load(ref: str | None, folder: Path) -> Loss:
    """Return the loss of a project: ``(outputs: {name: Tensor}, labels: Tensor) -> Tensor``.

    Args:
        ref: ``file.py:name`` or ``pkg.module:name``; None for cross-entropy.
        folder: What a relative file is relative to.

    Raises:
        RequestError: It names nothing that can be called.
    """
    if ref is None:
        return cross_entropy
    call = load_object(ref, folder)
    if not callable(call):
        raise RequestError("E-LOSS", f"{ref!r} cannot be called", hint="name a function")
    return _Own(ref, folder, call)


def cross_entropy(outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``-log softmax(scores)[label]`` over all positions.

    Args:
        outputs: The first one holds raw scores, shape ``(n, C)`` or ``(n, ..., C)``.
        labels: Classes, shape ``(n,)`` or ``(n, ...)``.

    Raises:
        DataError: Labels are no classes of that output.
    """
    scores = class_scores(outputs)
    flat = labels.reshape(-1)
    if labels.dtype != torch.int64 or len(flat) != len(scores) or scores.shape[1] < 2:
        raise DataError(
            "E-LOSS",
            f"cross-entropy needs one class per row of scores {list(scores.shape)}, got labels "
            f"{list(labels.shape)} of {labels.dtype}",
            hint='[data] loss = "file.py:name" for anything else',
        )
    if int(flat.max()) >= scores.shape[1] or int(flat.min()) < 0:
        raise DataError(
            "E-LOSS",
            f"labels from {int(flat.min())} to {int(flat.max())} for {scores.shape[1]} classes",
            hint="classes count from 0",
        )
    return functional.cross_entropy(scores, flat)


def class_scores(outputs: Outputs) -> torch.Tensor:
    """Return the first output with classes on the last axis as rows, shape ``(m, C)``."""
    first = next(iter(outputs.values()))
    return first.reshape(-1, first.shape[-1])


@dataclass(frozen=True, slots=True)
class _Own:
    ref: str
    folder: Path
    call: Callable[[Outputs, torch.Tensor], object]

    def __call__(self, outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
        with UserCode(self.ref, self.folder):
            value = self.call(outputs, labels)
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or value.grad_fn is None:
            raise RequestError(
                "E-LOSS",
                f"{self.ref!r} returned no scalar tensor that depends on the outputs",
                hint="return the mean over the batch",
            )
        return value.reshape(())
