"""How close shipped outputs are to those of the float model, where no labels say what is right."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.data.answers import Outputs, Reals, decided, similarity

Output = Mapping[str, npt.NDArray[Any]]

_STILL = 1e-9
"""Of the power: below it an output does not vary, and what it is must be kept, not how it moves."""


def fidelity(
    float_outputs: Outputs, shipped_outputs: Outputs
) -> tuple[float | None, float, float | None]:
    """Compare two models on the same samples, over all float outputs.

    Args:
        float_outputs: Reported outputs of each run of the float model.
        shipped_outputs: The same for the shipped model. A value that is not finite where the float
            model's is counts as 0.

    Returns:
        Agreement: fraction of runs with the same decision, where the one output holds class
        scores, or where no output is real (they are decisions then); else None. Mean cosine over
        runs. Signal to quantization noise in dB over all runs; None where exactly equal.
    """
    pairs = list(zip(float_outputs, shipped_outputs, strict=True))
    if not any(_is_real(array) for array in float_outputs[0].values()):
        same = sum(all(np.array_equal(a[name], b[name]) for name in a) for a, b in pairs) / len(
            pairs
        )
        return same, same, None
    signal = noise = 0.0
    cosines = []
    for expected, shipped in pairs:
        x, y = _vectors(expected, shipped)
        signal, noise = signal + float(x @ x), noise + float((x - y) @ (x - y))
        cosines.append(similarity(x, y))
    agreement = _agreement(float_outputs, shipped_outputs) if holds_scores(float_outputs) else None
    tiny = float(np.finfo(np.float64).tiny)
    return (
        agreement,
        sum(cosines) / len(cosines),
        10 * math.log10(max(signal, tiny) / noise) if noise else None,
    )


def holds_scores(outputs: Outputs) -> bool:
    """Whether the outputs are class scores: one float output of shape ``[1, C]`` with C >= 2.

    Vectors that all have length 1 and do not sum to 1 are embeddings of that shape.
    """
    if any(len(output) != 1 for output in outputs):
        return False
    rows = [next(iter(output.values())) for output in outputs]
    if not all(_is_real(row) and row.ndim == 2 and len(row) == 1 and row.size >= 2 for row in rows):
        return False
    return not _are_directions(rows)


def holds_directions(outputs: Outputs) -> bool:
    """Whether the one output holds embeddings: rows of at least two numbers, each of length 1.

    Only where they point is meant then; one-hot rows, which also sum to 1, are no such thing.
    """
    if any(len(output) != 1 for output in outputs):
        return False
    rows = [next(iter(output.values())) for output in outputs]
    wide = all(_is_real(row) and row.ndim and row.shape[-1] >= 2 for row in rows)
    return wide and _are_directions(rows)


def _are_directions(arrays: list[npt.NDArray[Any]]) -> bool:
    rows = [array.astype(np.float64).reshape(-1, array.shape[-1]) for array in arrays]
    lengths = np.concatenate([np.linalg.norm(each, axis=1) for each in rows])
    sums = np.concatenate([each.sum(axis=1) for each in rows])
    unit, summed = (np.isclose(each, 1, atol=1e-3).all() for each in (lengths, sums))
    return bool(unit and not summed)


def _agreement(float_outputs: Outputs, shipped_outputs: Outputs) -> float:
    pairs = zip(float_outputs, shipped_outputs, strict=True)
    return float(np.mean([_decision(a) == _decision(b) for a, b in pairs]))


def _decision(output: Output) -> int:
    scores = next(iter(output.values()))
    return -1 if np.isnan(scores).any() else int(decided(scores)[0])


def _vectors(expected: Output, shipped: Output) -> tuple[Reals, Reals]:
    """Lay all float outputs end to end; what is infinite in both alike carries no noise."""
    names = [name for name, array in expected.items() if _is_real(array)]
    x = np.concatenate([expected[name].ravel().astype(np.float64) for name in names])
    y = np.concatenate([shipped[name].ravel().astype(np.float64) for name in names])
    y = y if y.shape == x.shape else np.zeros_like(x)  # as many boxes as it likes, say
    return np.where(np.isfinite(x), x, 0), np.where(np.isfinite(y), y, 0)


def _is_real(array: npt.NDArray[Any]) -> bool:
    return "float" in array.dtype.name


def noise_by_output(float_outputs: Outputs, shipped_outputs: Outputs) -> dict[str, float]:
    """Return, for each real output, how far what varies in it stands above the noise, in dB.

    Laid end to end, the output of largest range would hide a small one that is destroyed; and an
    output that barely moves around a large mean would pass as a constant. So each output counts
    for itself, and its signal is the deviation from its mean over the runs.

    Args:
        float_outputs: Reported outputs of each run of the float model.
        shipped_outputs: The same for the shipped model.

    Returns:
        Output -> dB; infinite where both are exactly equal.
    """
    names = [name for name, array in float_outputs[0].items() if _is_real(array)]
    return {
        name: _above_noise(
            [{name: output[name]} for output in float_outputs],
            [{name: output[name]} for output in shipped_outputs],
        )
        for name in names
    }


def _above_noise(float_outputs: Outputs, shipped_outputs: Outputs) -> float:
    pairs = [_vectors(a, b) for a, b in zip(float_outputs, shipped_outputs, strict=True)]
    noise = sum(float((x - y) @ (x - y)) for x, y in pairs)
    power = sum(float(x @ x) for x, _ in pairs)
    if noise == 0:
        return math.inf
    signal = power
    if len({x.size for x, _ in pairs}) == 1 and len(pairs) > 1:
        mean = np.mean([x for x, _ in pairs], axis=0)
        varying = power - len(pairs) * float(mean @ mean)
        signal = varying if varying > _STILL * power else power
    return 10 * math.log10(max(signal, float(np.finfo(np.float64).tiny)) / noise)
