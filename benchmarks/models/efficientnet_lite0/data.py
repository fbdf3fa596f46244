"""Crops of real photographs, prepared as EfficientNet-Lite was trained on them.

Preprocessing: a square crop, bicubic to 224 x 224, ``(x - 127) / 128``, channels first. The first
crop of a photograph is the standard one (centre, 224/256 of the shorter side), the others vary
scale, place and mirror along a fixed low-discrepancy sequence. Calibration and evaluation
photographs are disjoint (``benchmarks/photographs.csv``).
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
TABLE = Path(__file__).parents[2] / "photographs.csv"
SIDE = 224
CROPS = 8  # crops of each photograph
STANDARD = SIDE / (SIDE + 32)
SCALES = (0.65, 1.0)  # of the shorter side
# Steps of the R3 sequence, powers of 1/1.2207: evenly spread in three dimensions (Roberts 2018).
STEPS = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])


def _crop(image: Image.Image, index: int) -> npt.NDArray[np.float32]:
    """Return crop ``index`` of ``image``, shape ``(1, 3, 224, 224)``."""
    scale, across, down = np.modf(0.5 + index * STEPS)[0]
    scale = STANDARD if index == 0 else SCALES[0] + scale * (SCALES[1] - SCALES[0])
    side = int(min(image.size) * scale)
    left, top = round((image.width - side) * across), round((image.height - side) * down)
    box = (left, top, left + side, top + side)
    crop = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(ImageOps.mirror(crop) if index % 2 else crop, np.float32)
    return ((pixels - np.float32(127)) / np.float32(128)).transpose(2, 0, 1)[None]


def _photographs(use: str) -> list[tuple[Path, int]]:
    """Return path and class (-1 where nobody labelled it) of the photographs that are there."""
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["use"] == use]
    found = [(LAB / "photographs" / use / f"{row['name']}.png", int(row["label"])) for row in rows]
    present = [(path, label) for path, label in found if path.exists()]
    if not present:
        raise FileNotFoundError(f"no photographs in {str(LAB)!r}: run benchmarks/fetch.py")
    return present


def calibration(count: int = 176) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield ``count`` crops, one of each photograph in turn, so that any prefix is varied."""
    photographs = _photographs("calibration")
    for number in range(count):
        path, _ = photographs[number % len(photographs)]
        with Image.open(path) as image:
            yield {"image": _crop(image, number // len(photographs))}


def calibration_32() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield 32 crops: the small end of ``benchmarks/calibration_memory.py``."""
    return calibration(32)


def calibration_1024() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield 1,024 crops: its large end."""
    return calibration(1024)


def evaluation() -> Iterator[tuple[dict[str, npt.NDArray[np.float32]], int, int]]:
    """Yield (sample, class or -1, photograph): the photograph is the cluster of the interval."""
    for group, (path, label) in enumerate(_photographs("evaluation")):
        with Image.open(path) as image:
            for index in range(CROPS):
                yield {"image": _crop(image, index)}, label, group
