"""Turn 16-bit samples of sound into frames; the same bits on every machine.

Needs numpy alone: a generated app carries this file as it is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sample(frame: NDArray[np.int16], scale: float) -> NDArray[np.float32]:
    """Return ``frame * scale``, rounded to float32 once."""
    return (frame * np.float64(scale)).astype(np.float32)


class Frames:
    """Frames that overlap: each begins with the end of the one before, zeros at first."""

    def __init__(self, frame: int, hop: int) -> None:
        """Take ``hop`` new samples for each frame of ``frame``."""
        self._hop = hop
        self._past = np.zeros(frame - hop, np.int16)

    def push(self, samples: Any) -> NDArray[np.int16]:
        """Return the next frame.

        Raises:
            TypeError: The samples are not 16-bit.
            ValueError: There are more or fewer than a hop.
        """
        frame = np.concatenate([self._past, checked(samples, self._hop)])
        self._past = frame[self._hop :]
        return frame

    def reset(self) -> None:
        """Start a new recording."""
        self._past = np.zeros_like(self._past)


def checked(samples: Any, count: int) -> NDArray[np.int16]:
    """Return samples that are 16-bit and as many as wanted."""
    found = np.asarray(samples)
    if found.dtype != np.int16:
        raise TypeError(f"samples are int16, got {found.dtype}")
    if found.shape != (count,):
        raise ValueError(f"the model takes {count} samples at a time, got shape {found.shape}")
    return found
