"""Handwritten digits: 1,797 real 8x8 images, split so that no image serves twice.

The file keeps the order in which it was collected: one long sequence of labels comes fourteen
times, form after form, and neighbours share a hand. Drawing images at random would put every writer
on both sides of the split and flatter the model, so whole forms are kept together. The file names
no writers, and 13 people filled the 14 forms: one of them may still stand on two sides.

Source: scikit-learn MOOC, "Sample grouping", on what a random split of these digits hides.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sample: TypeAlias = dict[str, npt.NDArray[np.float32]]

TRAINING = slice(0, 915)  # forms 1-7
CALIBRATION = slice(915, 1157)  # forms 8-9: seen neither in training nor in evaluation
EVALUATION = slice(1157, 1797)  # forms 10-14: 640 images


def training() -> Iterator[tuple[Sample, int]]:
    """Yield each training image with its label."""
    return _labelled(TRAINING)


def calibration() -> Iterator[Sample]:
    """Yield images that show the ranges of activations; their labels are not used."""
    return (sample for sample, _ in _labelled(CALIBRATION))


def evaluation() -> Iterator[tuple[Sample, int]]:
    """Yield the held-out images with their labels, for the accuracy that is reported."""
    return _labelled(EVALUATION)


def _labelled(part: slice) -> Iterator[tuple[Sample, int]]:
    images, labels = _digits()
    for image, label in zip(images[part], labels[part], strict=True):
        yield {"image": image[np.newaxis]}, int(label)


@cache
def _digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return images, shape ``(1797, 1, 8, 8)``, ink from 0 to 1, and labels, shape ``(1797,)``."""
    table = np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",")
    images = (table[:, :64] / 16).astype(np.float32)  # a pixel counts the ink in 4x4 dots
    return images.reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64)
