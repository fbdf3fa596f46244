"""Turn 8-bit pixels into what a model takes; the same bits on every machine.

Needs numpy alone: a generated app carries this file as it is.

Source: resizing is that of Pillow, ``Resample.c``: weights of 22 bits after the point, one pass
along rows, then one along columns, each rounded to 8 bits. (Pillow 13 may go along columns first
where that is cheaper, which can differ by a code; 11 never does.) Grey is its ``Convert.c``.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SUPPORT = {"bilinear": 1.0, "area": 0.5}
"""Half the width of each filter, in the larger of source and destination pixels."""

BITS = 22
"""After the point of a weight: 8 bits of a pixel and the sum of weights leave the sign alone."""


class Rule(Protocol):
    """What is to be done; see ``[preprocess]`` of a project."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def channels(self) -> str:
        """``grey``, ``RGB`` or ``BGR``."""

    @property
    def layout(self) -> str:
        """``NCHW`` or ``NHWC``."""

    @property
    def resize(self) -> str:
        """``none``, ``nearest``, ``bilinear`` or ``area``."""

    @property
    def scale(self) -> float:
        """Factor of each pixel."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted, per channel or once."""

    @property
    def std(self) -> tuple[float, ...]:
        """Divides, per channel or once."""


def sample(pixels: Any, rule: Rule, dtype: str = "float32") -> NDArray[Any]:
    """Return an image as the model takes it.

    Args:
        pixels: uint8, shape ``(height, width)`` or ``(height, width, 1, 3 or 4)``: grey, RGB, RGBA.
        rule: What is to be done.
        dtype: Of the model's input; ``uint8`` keeps the values of pixels.

    Returns:
        Shape ``(1, channels, height, width)``, or ``(1, height, width, channels)`` for ``NHWC``.

    Raises:
        ValueError: The pixels are no image, or have another size and the rule does not resize.
        TypeError: They are not 8-bit.
    """
    image = resized(with_channels(_checked(pixels), rule.channels), rule.size, rule.resize)
    planes = image[np.newaxis].transpose(0, 3, 1, 2) if rule.layout == "NCHW" else image[None]
    if dtype == "uint8":
        return np.ascontiguousarray(planes)
    axis = 1 if rule.layout == "NCHW" else 3
    numbers = table(rule, image.shape[2])
    parts = [row[plane] for row, plane in zip(numbers, np.moveaxis(planes, axis, 0), strict=True)]
    return np.ascontiguousarray(np.stack(parts, axis))


def table(rule: Rule, depth: int) -> NDArray[np.float32]:
    """Return what the 256 values of a pixel become, shape ``(depth, 256)``."""
    mean, std = (np.broadcast_to(np.array(each), depth) for each in (rule.mean, rule.std))
    values: NDArray[np.float64] = np.arange(256) * np.float64(rule.scale)
    found: NDArray[np.float64] = (values - mean[:, np.newaxis]) / std[:, np.newaxis]
    return found.astype(np.float32)


def with_channels(pixels: Pixels, channels: str) -> Pixels:
    """Return grey, RGB or BGR, shape ``(height, width, 1 or 3)``, from grey, RGB or RGBA."""
    depth = pixels.shape[2]
    if channels == "grey":
        return pixels if depth == 1 else _grey(pixels)
    colours = np.repeat(pixels, 3, axis=2) if depth == 1 else pixels[:, :, :3]
    return colours[:, :, ::-1] if channels == "BGR" else colours


def resized(pixels: Pixels, size: tuple[int, int], how: str) -> Pixels:
    """Return an image of another size; ``none`` refuses to make one."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    if how == "none":
        height, width = pixels.shape[:2]
        raise ValueError(f"the image is {width}x{height}, the model takes {size[1]}x{size[0]}")
    if how == "nearest":
        rows, columns = (nearest(n, m) for n, m in zip(pixels.shape, size, strict=False))
        return pixels[rows][:, columns]
    across = _along_rows(pixels, size[1], how)
    return _along_rows(across.transpose(1, 0, 2), size[0], how).transpose(1, 0, 2)


def nearest(source: int, wanted: int) -> NDArray[np.int64]:
    """Return which of ``source`` pixels lies under the centre of each of ``wanted``."""
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * source // (2 * wanted)


def weights(source: int, wanted: int, how: str) -> list[tuple[int, NDArray[np.int64]]]:
    """Return for each pixel wanted the first one it is made of, and the weights from there on."""
    scale = source / wanted
    stretch = max(scale, 1.0)
    support, narrow = SUPPORT[how] * stretch, 1.0 / stretch
    found = []
    for index in range(wanted):
        centre = (index + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), source)
        at: NDArray[np.floating] = (np.arange(first, last) - centre + 0.5) * narrow
        heights = _filter(at, how)
        total = 0.0
        for height in heights:  # in this order: a sum in another may end in other bits
            total += float(height)
        found.append((first, (heights / total * (1 << BITS) + 0.5).astype(np.int64)))
    return found


def _filter(at: NDArray[np.floating], how: str) -> NDArray[np.floating]:
    box = ((at > -0.5) & (at <= 0.5)).astype(np.float64)
    return box if how == "area" else np.maximum(1.0 - np.abs(at), 0.0).astype(np.float64)


def _along_rows(pixels: Pixels, width: int, how: str) -> Pixels:
    made = np.empty((len(pixels), width, pixels.shape[2]), np.uint8)
    wide = pixels.astype(np.int64)
    for index, (first, parts) in enumerate(weights(pixels.shape[1], width, how)):
        total = (wide[:, first : first + len(parts)] * parts[:, np.newaxis]).sum(axis=1)
        made[:, index] = np.clip((total + (1 << (BITS - 1))) >> BITS, 0, 255)
    return made


def _grey(pixels: Pixels) -> Pixels:
    red, green, blue = (pixels[:, :, [i]].astype(np.int64) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16).astype(np.uint8)


def _checked(pixels: Any) -> Pixels:
    found = np.asarray(pixels)
    if found.dtype != np.uint8:
        raise TypeError(f"pixels are uint8, got {found.dtype}")
    image = found[:, :, np.newaxis] if found.ndim == 2 else found
    if image.ndim != 3 or image.shape[2] not in {1, 3, 4} or not image.size:
        raise ValueError(
            f"an image is (height, width) or (height, width, 1|3|4), got {found.shape}"
        )
    return image
