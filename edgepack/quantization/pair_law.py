"""Weight scales under which a saturating CPU computes what every other CPU computes.

Without VNNI, x86 multiplies bytes with ``vpmaddubsw``: two u8*s8 products are added in 16 bits.
The sum can overflow only where two weights that are neighbours along K have ``|wa| + |wb| > 128``
(255 * 128 = 32640 < 2**15). Halving every weight, as ``reduce_range`` does, is safe and costs a
bit of precision in every channel; a scale per channel that just keeps the law costs less.

K runs over rows in a MatMul and over input channels at one kernel position in a convolution.
Source: onnxruntime#12088, #14642; Intel SDM, PMADDUBSW.
"""

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]

LIMIT = 128
"""Largest safe sum of the absolute codes of two neighbours along K."""

_RAISE = 1.0005
"""Factor by which a scale is raised while rounding still breaks the law."""


def pair_sums(weights: Weights) -> Weights:
    """Return, per channel, the largest ``|wa| + |wb|`` of neighbours along K.

    Args:
        weights: Shape ``(K, N)``.

    Returns:
        Shape ``(N,)``, in the unit of ``weights``.
    """
    size = np.abs(weights)
    if len(size) % 2:
        size = np.concatenate([size, np.zeros((1, size.shape[1]))])
    return np.asarray((size[0::2] + size[1::2]).max(axis=0))


def lawful_scales(orders: tuple[Weights, ...]) -> Weights:
    """Return the smallest scales whose rounded codes obey the law in each order of K.

    Args:
        orders: The same weights, shape ``(K, N)``, in each order in which a kernel may read K.

    Returns:
        Scale per channel, shape ``(N,)``, positive.
    """
    top = np.abs(orders[0]).max(axis=0)
    scales: Weights = np.max([top / 127, *(pair_sums(order) / LIMIT for order in orders)], axis=0)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    while (broken := _broken(orders, scales)).any():
        scales = np.where(broken, scales * _RAISE, scales)
    return scales


def obeys(codes: npt.NDArray[np.integer]) -> bool:
    """Whether integer weights of shape ``(K, N)`` keep the law."""
    return bool((pair_sums(codes.astype(np.float64)) <= LIMIT).all())


def _broken(orders: tuple[Weights, ...], scales: Weights) -> npt.NDArray[np.bool_]:
    # float32 as in the model file: a scale that rounds down there could break the law again
    stored = scales.astype(np.float32).astype(np.float64)
    codes = (np.clip(np.rint(order / stored), -127, 127) for order in orders)
    broken: npt.NDArray[np.bool_] = np.any([pair_sums(code) > LIMIT for code in codes], axis=0)
    return broken
