"""What a model answered and what it should have: raw outputs and labels as scores and classes.

Metrics judge the first reported output. Outputs are given without carried state, in the order of
the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError, ModelError, RequestError

Array = npt.NDArray[Any]
Reals = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]
Outputs = Sequence[Mapping[str, Array]]
Labels = Sequence[Array]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a pooled metric is computed from, ready to be resampled.

    Attributes:
        values: One score, decision or vector per position, shape ``(m,)`` or ``(m, d)``.
        truth: The label of each, shape ``(m,)``.
        runs: The run each belongs to, shape ``(m,)``, in rising order.
    """

    values: Array
    truth: Array
    runs: npt.NDArray[np.int64]


def answers(outputs: Outputs) -> list[Array]:
    """Return the first output of each run.

    Raises:
        ModelError: One is NaN; no metric can rank that.
    """
    found = [next(iter(output.values())) for output in outputs]
    for index, array in enumerate(found):
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ModelError(
                "E-OUTPUT-NAN",
                f"output {next(iter(outputs[index]))!r} is NaN for sample {index}",
                hint="a value overflowed: look at the inputs, or keep the model in float",
            )
    return found


def matched(answer: Array, label: Array, index: int) -> tuple[Array, Array]:
    """Return a score (or class scores) for each position of the label: ``(m, C)`` and ``(m,)``.

    Classes lie on the last axis, ``[1, C]`` or ``[1, T, C]``, or on axis 1, ``[1, C, H, W]``:
    whichever leaves as many positions as the label has.

    Raises:
        DataError: Neither does.
    """
    for axis in (-1, 1)[: answer.ndim]:
        if answer.size == label.size * answer.shape[axis]:
            return np.moveaxis(answer, axis, -1).reshape(label.size, -1), label.ravel()
    if answer.size == label.size:
        return answer.reshape(-1, 1), label.ravel()
    raise DataError(
        "E-DATA-LABELS",
        f"sample {index}: a label of {list(label.shape)} for an output of {list(answer.shape)}",
        hint="one label per sample, or one per position of the output",
    )


def whole(label: Array, classes: int, index: int) -> Array:
    """Return the label, seen to hold classes.

    Raises:
        DataError: It holds other than whole numbers from 0 to ``classes - 1``.
    """
    if label.dtype.kind not in "iu":
        raise DataError(
            "E-DATA-LABELS",
            f"label {label.ravel()[:1].tolist()[0]!r} of sample {index} is no class",
            hint="classes are whole numbers from 0",
        )
    if label.size and not 0 <= label.min() <= label.max() < classes:
        wrong = label.max() if label.max() >= classes else label.min()
        raise DataError(
            "E-DATA-LABELS",
            f"label {int(wrong)} of sample {index}, but classes go from 0 to {classes - 1}",
            hint="number classes from 0" if wrong == classes else "is this the model's own data?",
        )
    return label


def decided(scores: Array) -> Array:
    """Return the class each row of scores ``(m, C)`` is for; ties go to the first.

    A single score is a probability, and stands for class 1 above a half.

    Raises:
        RequestError: A single score is outside [0, 1].
    """
    if scores.shape[1] > 1:
        return np.asarray(scores.argmax(axis=1))
    if scores.size and not 0 <= scores.min() <= scores.max() <= 1:
        raise RequestError(
            "E-METRIC",
            "a single score that is no probability leads to no decision",
            hint="use auc, or a metric of your own: file.py:name",
        )
    return (scores[:, 0] > 0.5).astype(np.int64)


def class_rows(answer: Array) -> Array:
    """Return class scores ``(m, C)`` where no label says which axis holds the classes.

    Rank 4 and more is ``[N, C, ...]``; rank 1 is a batch of single scores; else the last axis.
    """
    if answer.ndim >= 4:
        answer = np.moveaxis(answer, 1, -1)
    return answer.reshape(-1, answer.shape[-1] if answer.ndim > 1 else 1)


def evidence(
    outputs: Outputs, labels: Labels, read: Callable[[Array], Array], classes: int | None = None
) -> Evidence:
    """Pool all positions of all samples.

    Args:
        outputs: Of each run.
        labels: Of each run, classes.
        read: Makes one value of each row of scores ``(m, C)``.
        classes: Number of classes; None for as many as an output has scores, and 2 for one.

    Raises:
        DataError: A label is no class.
        RequestError: ``read`` cannot make anything of the scores.
    """
    values, truth, sizes = [], [], []
    for index, (answer, label) in enumerate(zip(answers(outputs), labels, strict=True)):
        rows, row_labels = matched(answer, label, index)
        truth.append(whole(row_labels, classes or max(2, rows.shape[1]), index))
        values.append(read(rows))
        sizes.append(len(rows))
    runs = np.repeat(np.arange(len(sizes)), sizes)
    return Evidence(np.concatenate(values), np.concatenate(truth), runs)


def margin(rows: Array) -> Array:
    """Return the score for class 1; of two class scores the difference, which orders as softmax.

    Raises:
        RequestError: There are more than two classes.
    """
    if rows.shape[1] > 2:
        raise RequestError(
            "E-METRIC", f"{rows.shape[1]} classes, the metric is for two", hint="use top1 or f1"
        )
    score = rows[:, -1].astype(np.float64)
    return score - rows[:, 0] if rows.shape[1] == 2 else score


def parted(scores: Reals, positive: Truth) -> tuple[Reals, Reals]:
    """Return the scores of positives and of negatives.

    Raises:
        DataError: There are none of one kind.
    """
    if positive.all() or not positive.any():
        raise DataError("E-DATA-LABELS", "all labels are the same", hint="both classes are needed")
    return scores[positive], scores[~positive]


def hits(outputs: Outputs, labels: Labels, best: int) -> Reals:
    """Return for each sample the fraction of positions whose label is among the ``best`` classes.

    A tie counts against the label only where an earlier class has the same score, as in argmax.

    Raises:
        DataError: A label is no class of the output, or one-hot.
        RequestError: There are no more classes than ``best``.
    """
    found = np.empty(len(outputs))
    for index, (answer, label) in enumerate(zip(answers(outputs), labels, strict=True)):
        rows, classes = matched(answer, label, index)
        if rows.shape[1] == 1 and answer.shape[-1] == label.size > 1:
            raise DataError(
                "E-DATA-LABELS",
                f"the label of sample {index} is an array {list(label.shape)}, not a class",
                hint="give class numbers; of one-hot labels, labels.argmax(-1)",
            )
        if rows.shape[1] <= best:
            raise RequestError(
                "E-METRIC",
                f"the best {best} of {rows.shape[1]} classes are all",
                hint="use auc or f1",
            )
        classes = whole(classes, rows.shape[1], index)
        mine = rows[np.arange(len(rows)), classes][:, None]
        before = (rows == mine) & (np.arange(rows.shape[1]) < classes[:, None])
        found[index] = ((rows > mine).sum(axis=1) + before.sum(axis=1) < best).mean()
    return found


def errors(outputs: Outputs, labels: Labels) -> list[Reals]:
    """Return output minus label for each sample, as float64.

    Raises:
        DataError: Their shapes differ in more than axes of length 1.
    """
    found = []
    for index, (answer, label) in enumerate(zip(answers(outputs), labels, strict=True)):
        got, want = list(label.shape), list(answer.shape)
        if answer.squeeze().shape != label.squeeze().shape:
            raise DataError(
                "E-DATA-LABELS", f"sample {index}: a label of {got} for an output of {want}"
            )
        found.append(answer.ravel().astype(np.float64) - label.ravel().astype(np.float64))
    return found


def similarity(a: Array, b: Array) -> float:
    """Return the cosine of two arrays as vectors; 1 where equal, as two zero vectors are."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    if length == 0 or np.array_equal(x, y):
        return float(np.array_equal(x, y))
    return float(np.clip(x @ y / length, -1, 1))
