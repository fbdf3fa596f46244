"""Real numbers as small integers and back: the affine map of ONNX QuantizeLinear."""

from typing import Any

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[Any]
Integers = npt.NDArray[Any]


def quantize(x: Real, scale: Real, zero_point: Integers, *, axis: int | None = None) -> Integers:
    """Map reals to integers, ``q = clip(round(x / scale) + zero_point, low, high)``.

    Ties round to even and out-of-range values saturate, as in ONNX QuantizeLinear.

    Args:
        x: Real values, shape ``(..., C, ...)``.
        scale: Real step per integer step, > 0; shape ``()``, or ``(C,)`` with ``axis``.
        zero_point: The integer that stands for real 0; its dtype is the dtype of the result.
        axis: The axis of length ``C``; None for one scale for the whole tensor.

    Returns:
        Integers of the shape of ``x`` and the dtype of ``zero_point``.

    Raises:
        ValueError: A scale is not positive and finite, or its shape does not fit ``axis``.

    Source:
        Jacob et al. 2018, arXiv:1712.05877, eq. (1): ``r = S (q - Z)``.
    """
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("scales must be finite and positive")
    step, zero = along(scale, x.ndim, axis), along(zero_point, x.ndim, axis)
    low, high = np.iinfo(zero_point.dtype).min, np.iinfo(zero_point.dtype).max
    with np.errstate(over="ignore"):  # an infinite quotient saturates like any other
        scaled = np.rint(x / step) + zero.astype(np.float64)
    return np.asarray(np.clip(scaled, low, high).astype(zero_point.dtype))


def dequantize(q: Integers, scale: Real, zero_point: Integers, *, axis: int | None = None) -> Real:
    """Map integers back to reals, ``r = scale (q - zero_point)``; shapes as in ``quantize``."""
    step, zero = along(scale, q.ndim, axis), along(zero_point, q.ndim, axis)
    real: Real = (q.astype(np.int64) - zero.astype(np.int64)).astype(scale.dtype) * step
    return real


def along(values: npt.NDArray[Any], rank: int, axis: int | None) -> npt.NDArray[Any]:
    """Reshape ``(C,)`` so that it broadcasts along ``axis`` of an array of ``rank`` axes.

    Raises:
        ValueError: Values are not a scalar and no axis was given, or the reverse.
    """
    if (values.ndim == 0) != (axis is None):
        raise ValueError(f"shape {values.shape} does not fit axis {axis}")
    if axis is None:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
