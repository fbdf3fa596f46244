"""Labelled speech as sequences of frames: a gap and the prompt after it are one sequence.

A frame is what the model takes per run: 64 samples of the past and 512 new ones at 16 kHz. Every
fifth sequence calibrates, all others are evaluated. Licence: ``benchmarks/data/README.md``.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

STREAM = Path(__file__).parents[2] / "data/vad_stream.npz"
FRAME = 512
CONTEXT = 64
EVERY = 5  # one sequence in five calibrates

Sequence = tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.int64]]


def _sequences() -> list[Sequence]:
    """Return frames ``(T, 1, 576)`` and labels ``(T,)`` of each gap with its prompt."""
    with np.load(STREAM) as stream:
        audio, labels = stream["x"].astype(np.float32) / 32767, stream["y"]
    frames = audio.reshape(-1, FRAME)
    past = np.vstack([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
    inputs = np.hstack([past, frames])[:, None, :]
    starts = np.flatnonzero(np.diff(labels, prepend=1) < 0)  # where speech ends, a gap begins
    inputs[starts, :, :CONTEXT] = 0  # a sequence starts from silence, as its state does
    cuts = starts[1:]
    return [
        ({"input": part}, label)
        for part, label in zip(np.split(inputs, cuts), np.split(labels, cuts), strict=True)
    ]


def calibration() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield the sequences that calibrate, without labels."""
    for number, (sample, _) in enumerate(_sequences()):
        if number % EVERY == 0:
            yield sample


def evaluation() -> Iterator[tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.int64], int]]:
    """Yield (frames, a label for each, sequence): the sequence is the interval's cluster."""
    for number, (sample, labels) in enumerate(_sequences()):
        if number % EVERY != 0:
            yield sample, labels, number
