"""Rounding that lets later weights make up for the errors of earlier ones, on the data seen.

Weights are rounded row by row along K; the error of each is spread over the rows still to come so
that ``x @ w`` changes least for the inputs whose second moments were measured.

Source: Frantar et al. 2022, arXiv:2210.17323, algorithm 1.
"""

from collections.abc import Callable

import numpy as np

from edgepack.quantization.pair_law import Weights

DAMPING = 0.01
"""Of the mean diagonal, added to it: inputs that were never seen may not weigh nothing (ibid.)."""

_TOGETHER = 128
"""Rows whose errors reach the rows behind them in one product."""

Round = Callable[[int, Weights], Weights]
"""Takes the number of a row in its block and its weights ``(N,)``, gives them back rounded."""

Start = Callable[[Weights], Round]
"""Takes a block of weights ``(block, N)``, as errors before it left them; fixes its scales."""


def round_rows(weight: Weights, moments: Weights, block: int, start: Start) -> Weights:
    """Round a matrix, block by block along K.

    Args:
        weight: Shape ``(K, N)``.
        moments: Sum of ``x x^T`` over rows of the input, shape ``(K, K)``.
        block: Rows that share scales; the last block may be shorter.
        start: Called once a block, in order.

    Returns:
        What the rounded weights stand for, shape ``(K, N)``.
    """
    spread = _spread(moments)
    left = weight.astype(np.float64)
    found = np.empty_like(left)
    together = max(block, _TOGETHER // block * block)
    for first in range(0, len(left), together):
        last = min(first + together, len(left))
        errors = np.empty((last - first, left.shape[1]))
        for row in range(first, last):
            if (row - first) % block == 0:
                rounded = start(left[row : min(row + block, last)])
            found[row] = rounded((row - first) % block, left[row])
            errors[row - first] = (left[row] - found[row]) / spread[row, row]
            left[row:last] -= np.outer(spread[row, row:last], errors[row - first])
        left[last:] -= spread[first:last, last:].T @ errors
    return found


def output_error(weight: Weights, rounded: Weights, moments: Weights) -> float:
    """Return the squared error of ``x @ w`` over the rows that were seen."""
    wrong = rounded - weight
    return float(np.sum(wrong * (moments @ wrong)))


def _spread(moments: Weights) -> Weights:
    """Return the upper Cholesky factor of the inverse of the damped moments.

    With ``H = U U^T``, U upper, it is the inverse of U: one factorization, nothing inverted twice.
    """
    damped = moments.copy()
    diagonal = np.einsum("ii->i", damped)
    diagonal[diagonal <= 0] = 1
    diagonal += DAMPING * diagonal.mean()
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    return np.triu(np.linalg.inv(upper))
