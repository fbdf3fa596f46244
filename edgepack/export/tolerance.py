"""How far an exported model may be from torch, and why."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.generic]
RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""Limits on ``|onnx - torch|``: of the value itself, and of the largest value of its output.

Sound float32 exports were seen to differ by 2e-8 to 5e-6 of the largest value (MobileNetV2,
ResNet18, MiniLM, LSTM, GRU); 1e-4 leaves room for reductions in another order over a hundred
layers. Wrong exports (a branch baked in, a transposed axis, random numbers) differ by 1e-2 or more.
"""
_HALF = 10.0
"""Float16 and bfloat16 keep 11 and 8 bits, so that their limits are ten times as wide."""
_FLIPPED = 1e-3
"""Of many integers (an argmax per pixel) so many may differ, where two floats all but tie."""


def array(tensor: torch.Tensor) -> Array:
    """Return a tensor as NumPy; bfloat16, which NumPy lacks, as float32."""
    plain = tensor.detach().cpu().resolve_conj()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy().copy()


def same(first: Array, second: Array) -> bool:
    """Compare exactly, NaN being equal to NaN."""
    floats = first.dtype.kind in "fc"
    return bool(np.array_equal(first, second, equal_nan=floats))


def deviation(found: Array, expected: Array, *, half: bool = False) -> tuple[float, float, bool]:
    """Measure how far ``found`` is from ``expected``.

    Returns:
        The largest absolute difference, the same over the largest finite value of ``expected``,
        and whether it is within the limits. NaN and infinities must stand in the same places.
    """
    if found.shape != expected.shape:
        return np.inf, np.inf, False
    if expected.dtype.kind not in "fc":
        differing = int(np.count_nonzero(found != expected))
        ratio = differing / max(expected.size, 1)
        return float(differing > 0), ratio, ratio <= _FLIPPED
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    mine, theirs = found.astype(wide), expected.astype(wide)
    finite = np.isfinite(theirs)
    if not np.array_equal(mine[~finite], theirs[~finite], equal_nan=True):
        return np.inf, np.inf, False
    gap, size = np.abs(mine[finite] - theirs[finite]), np.abs(theirs[finite])
    if gap.size == 0:
        return 0.0, 0.0, True
    if not np.isfinite(gap).all():
        return np.inf, np.inf, False
    scale, widen = float(size.max()), _HALF if half else 1.0
    limit = widen * (RELATIVE * size + ABSOLUTE * max(scale, ABSOLUTE))
    worst = float(gap.max())
    return worst, worst / max(scale, ABSOLUTE), bool((gap <= limit).all())


def is_half(tensors: Sequence[torch.Tensor]) -> bool:
    """Tell whether a model computes in 16 bits, by its inputs or weights."""
    return any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors)
