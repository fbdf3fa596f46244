"""Pictures of 3 x 224 x 224 as calibration data: coarse structure with noise, made when read."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Samples = Iterator[dict[str, npt.NDArray[np.float32]]]


def calibration_32() -> Samples:
    """Yield 32 of them: the small end of ``benchmarks/calibration_memory.py``."""
    return _made(32)


def calibration_1024() -> Samples:
    """Yield 1,024 of them: its large end."""
    return _made(1024)


def _made(count: int) -> Samples:
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = rng.standard_normal((1, 3, 8, 8)).repeat(28, 2).repeat(28, 3)
        noise = rng.standard_normal((1, 3, 224, 224))
        yield {"x": (coarse + noise / 2).astype(np.float32)}
