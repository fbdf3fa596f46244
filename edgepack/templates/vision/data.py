"""Fashion-MNIST: 70,000 real photographs of clothes, 28x28, in the official split.

The 10,000 test images are for the accuracy that is reported; calibration takes 512 of the training
images, which training leaves out. Which goods or photographers stand on both sides of the official
split is not recorded.

Source: Xiao et al. 2017, arXiv:1708.07747.
"""

import gzip
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sample: TypeAlias = dict[str, npt.NDArray[np.float32]]

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
CALIBRATION = 512
TRAINING = int(os.environ.get("FASHION_MNIST_TRAINING", "12000"))  # of 59,488; more is better


def training() -> Iterator[tuple[Sample, int]]:
    """Yield training images with their labels."""
    yield from _labelled("train", slice(CALIBRATION, CALIBRATION + TRAINING))


def calibration() -> Iterator[Sample]:
    """Yield images that show the ranges of activations; their labels are not used."""
    yield from (sample for sample, _ in _labelled("train", slice(0, CALIBRATION)))


def evaluation() -> Iterator[tuple[Sample, int]]:
    """Yield the official test images with their labels."""
    yield from _labelled("t10k", slice(None))


def _labelled(part: str, rows: slice) -> Iterator[tuple[Sample, int]]:
    images, labels = _read(part)
    for image, label in zip(images[rows], labels[rows], strict=True):
        yield {"image": image[np.newaxis]}, int(label)


@cache
def _read(part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return images, shape ``(n, 1, 28, 28)``, from 0 to 1, and labels, shape ``(n,)``."""
    names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
    if not all((FOLDER / name).is_file() for name in names):
        raise FileNotFoundError(
            f"no Fashion-MNIST in {FOLDER}: apt-get install dataset-fashion-mnist, or set "
            "FASHION_MNIST to the folder that holds its four .gz files"
        )
    pixels, labels = (gzip.decompress((FOLDER / name).read_bytes()) for name in names)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return (images / 255).astype(np.float32), np.frombuffer(labels, np.uint8, offset=8)
