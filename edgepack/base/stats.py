"""Intervals for means, with Student's quantiles on the standard library alone."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def t_quantile(df: int, confidence: float = 0.95) -> float:
    """Return ``t`` with ``P(|T| <= t) = confidence``, T of Student with ``df`` degrees of freedom.

    Raises:
        ValueError: ``df`` is below 1 or ``confidence`` not inside (0, 1).

    Source:
        Abramowitz and Stegun 1964, 26.7.3 and 26.7.4 inverted by bisection; beyond 300 degrees of
        freedom their expansion 26.7.5, whose next term is below 1e-6 there.
    """
    if df < 1 or not 0 < confidence < 1:
        raise ValueError(f"no quantile for {df} degrees of freedom at {confidence}")
    if df > 300:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        return z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    low, high = 0.0, math.pi / 2  # the angle atan(t / sqrt(df)), so that both ends are finite
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, df) < confidence else (low, angle)
    return math.tan(low) * math.sqrt(df)


def _within(angle: float, df: int) -> float:
    """P(|T| <= sqrt(df) tan(angle)): a finite series for whole degrees of freedom."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term = total = 0.0 if df == 1 else cosine**odd
    for k in range(2 + odd, df - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def clustered_mean(values: Values, clusters: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean of ``values`` and its variance when values of a cluster move together.

    With every value its own cluster this is the textbook ``s^2 / n``.

    Args:
        values: Shape ``(n,)``.
        clusters: Cluster of each value, shape ``(n,)``; at least two different ones.

    Source:
        Cochran 1977, Sampling Techniques, section 9A.2: the mean per element as a ratio of
        cluster totals, linearized.
    """
    mean = float(values.mean())
    _, index = np.unique(clusters, return_inverse=True)
    residuals = np.bincount(index, values - mean)
    count = len(residuals)
    if count < 2:
        raise ValueError("one cluster has no variance")
    return mean, float(residuals @ residuals) * count / (count - 1) / len(values) ** 2
