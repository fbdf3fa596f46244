"""Scales and zero points: of activations from ranges, of weights and biases from their values."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepack.quantization.pair_law import Weights, lawful_scales
from edgepack.quantization.scheme import Scheme

_SMALLEST_SPAN = 1e-12
"""A narrower range is a constant zero; its scale only has to be finite and positive."""

BIAS_LIMIT = 2.0**30
"""Largest code of an int32 bias: half the type is left to the accumulated products."""


@dataclass(frozen=True, slots=True)
class ActivationScale:
    """Scale (float32, rank 0) and zero point (rank 0, of the activation type) of a tensor."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """Codes of a weight with one scale per output channel along ``axis``."""

    codes: npt.NDArray[np.integer]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.integer]
    axis: int


def activation_scale(bounds: tuple[float, float], scheme: Scheme) -> ActivationScale:
    """Map a range ``(low, high)``, widened to hold 0, onto the integers of the scheme.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.1 (real 0 must be an exact code).
    """
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    info = np.iinfo(scheme.activations)
    if scheme.symmetric:
        scale = np.float32(max(-low, high, _SMALLEST_SPAN) / info.max)
        zero = 0
    else:
        scale = np.float32(max(high - low, _SMALLEST_SPAN) / (info.max - info.min))
        zero = int(np.clip(np.rint(info.min - low / float(scale)), info.min, info.max))
    return ActivationScale(np.asarray(scale), np.asarray(zero, scheme.activations))


def quantize_weight(
    weight: npt.NDArray[np.floating],
    axis: int,
    scheme: Scheme,
    least: npt.NDArray[np.float64],
    *,
    depthwise: bool = False,
) -> QuantizedWeight:
    """Round a weight to codes of +-127, one scale per channel.

    Args:
        weight: Convolution ``(out, in / group, *kernel)``, or a matrix with ``axis`` its columns
            or rows of output channels.
        axis: The axis of output channels.
        scheme: Whether the pair law binds, and the integer type.
        least: Lower bound of each scale, shape ``(channels,)``; see ``least_scales``.
        depthwise: One filter per channel: such kernels widen each product before adding and
            were seen never to saturate, so the law does not bind.
    """
    exact = weight.astype(np.float64)
    top = np.abs(np.moveaxis(exact, axis, 0)).reshape(exact.shape[axis], -1).max(axis=1)
    scales = np.maximum(top / 127, np.finfo(np.float32).tiny)
    if scheme.pair_law and not depthwise:
        scales = lawful_scales(orders_of_k(exact, axis))
    stored = np.maximum(scales, least).astype(np.float32)
    return round_weight(weight, axis, scheme, (stored, 127), depthwise=depthwise)


def round_weight(
    weight: npt.NDArray[np.floating],
    axis: int,
    scheme: Scheme,
    rule: tuple[npt.NDArray[np.float32], int],
    *,
    depthwise: bool,
) -> QuantizedWeight:
    """Round a weight with scales that are given.

    Args:
        weight: As in ``quantize_weight``.
        axis: The axis of output channels.
        scheme: The integer type.
        rule: One scale per channel, and the largest code.
        depthwise: Whether the type is that of depthwise kernels.
    """
    stored, limit = rule
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    exact = weight.astype(np.float64) / stored.astype(np.float64).reshape(shape)
    codes = np.clip(np.rint(exact), -limit, limit)
    zero = scheme.weight_zero(depthwise=depthwise)
    kind = scheme.depthwise if depthwise else scheme.weights
    return QuantizedWeight(
        (codes + zero).astype(kind), stored, np.full(stored.shape, zero, kind), axis
    )


def least_scales(
    bias: npt.NDArray[np.floating] | None, input_scale: float, channels: int
) -> npt.NDArray[np.float64]:
    """Return the smallest weight scales for which the int32 bias cannot overflow.

    They hold for a bias that stays in float, too: the runtime's CPU provider rounds it itself.

    Source: onnxruntime#22020, #24815 (a small weight scale wrapped large biases around).
    """
    if bias is None:
        return np.zeros(channels)
    return np.abs(bias.astype(np.float64).reshape(-1)) / (input_scale * BIAS_LIMIT)


def orders_of_k(weight: Weights, axis: int) -> tuple[Weights, ...]:
    """Return a weight as ``(K, N)`` in each order in which a kernel may read neighbours.

    A matrix has one. A convolution is read position by position, input channels innermost
    (NHWC); with an odd number of channels pairs either straddle positions or restart at each,
    and a one-dimensional kernel may also be read with positions innermost.
    """
    rows = np.moveaxis(weight, axis, 0)
    if rows.ndim == 2:
        return (np.ascontiguousarray(rows.T),)
    last = np.moveaxis(rows, 1, -1)  # (out, *kernel, in)
    flat = last.reshape(len(rows), -1).T
    padded = np.concatenate([last, np.zeros((*last.shape[:-1], last.shape[-1] % 2))], axis=-1)
    orders = [flat, padded.reshape(len(rows), -1).T]
    if rows.ndim == 3:
        orders.append(rows.reshape(len(rows), -1).T)
    return tuple(orders)
