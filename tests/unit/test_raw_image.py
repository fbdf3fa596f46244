"""Pixels to samples, against Pillow and numbers worked by hand."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image as Pillow

from edgepack.runtime.raw import image
from edgepack.spec.preprocess import Image

RNG = np.random.default_rng(0)
SIZES = [tuple(map(int, RNG.integers(1, 60, 4))) for _ in range(60)]
FILTERS = {"bilinear": Pillow.Resampling.BILINEAR, "area": Pillow.Resampling.BOX}


def noise(height: int, width: int, depth: int = 3) -> image.Pixels:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, depth), np.uint8)


def rule(**fields: object) -> Image:
    return Image(**{"input": "image", "size": (2, 2), "channels": "grey", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("how", FILTERS)
def test_resizing_is_pillow_s_rows_first_bit_for_bit(how: str) -> None:
    for height, width, rows, columns in SIZES:
        pixels = noise(height, width)
        # Newer Pillows take columns first where that is cheaper; two calls leave them no choice.
        wanted = Pillow.fromarray(pixels).resize((columns, height), FILTERS[how])
        wanted = wanted.resize((columns, rows), FILTERS[how])
        found = image.resized(pixels, (rows, columns), how)
        np.testing.assert_array_equal(found, np.asarray(wanted))


@pytest.mark.parametrize(("source", "wanted"), [(5, 3), (3, 5), (7, 7), (56, 45), (1, 4), (9, 2)])
def test_nearest_takes_the_pixel_under_each_centre(source: int, wanted: int) -> None:
    centres = [(i + Fraction(1, 2)) * source / wanted for i in range(wanted)]
    assert image.nearest(source, wanted).tolist() == [int(centre) for centre in centres]


def test_grey_is_pillow_s_of_rgb_and_of_rgba() -> None:
    for mode in ("RGB", "RGBA"):
        pixels = noise(20, 30, len(mode))
        wanted = np.asarray(Pillow.fromarray(pixels, mode).convert("L"))
        np.testing.assert_array_equal(image.with_channels(pixels, "grey")[:, :, 0], wanted)


def test_channels_are_swapped_dropped_and_repeated() -> None:
    pixels = np.array([[[1, 2, 3, 4]]], np.uint8)
    assert image.with_channels(pixels, "BGR").ravel().tolist() == [3, 2, 1]
    assert image.with_channels(pixels, "RGB").ravel().tolist() == [1, 2, 3]
    assert image.with_channels(pixels[:, :, :1], "RGB").ravel().tolist() == [1, 1, 1]


def test_a_pixel_becomes_the_nearest_float_of_its_exact_value() -> None:
    given = rule(
        channels="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    numbers = image.table(given, 3)
    for channel, (mean, std) in enumerate(zip(given.mean, given.std, strict=True)):
        exact = [float((Fraction(v, 255) - Fraction(mean)) / Fraction(std)) for v in range(256)]
        np.testing.assert_array_equal(numbers[channel], np.array(exact, np.float32))


@pytest.mark.parametrize("divisor", [16, 128, 255, 256])
def test_a_scale_written_as_a_decimal_gives_what_a_division_gives(divisor: int) -> None:
    wanted = (np.arange(256) / divisor).astype(np.float32)
    np.testing.assert_array_equal(image.table(rule(scale=float(repr(1 / divisor))), 1)[0], wanted)


def test_planes_and_channels_lie_as_the_model_wants_them() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    planes = image.sample(pixels, rule(channels="RGB"))
    mixed = image.sample(pixels, rule(channels="RGB", layout="NHWC"))
    assert (planes.shape, mixed.shape) == ((1, 3, 2, 2), (1, 2, 2, 3))
    assert planes[0, 1].ravel().tolist() == [1, 4, 7, 10]
    assert mixed.ravel().tolist() == list(range(12))
    assert image.sample(pixels, rule(channels="RGB"), "uint8").dtype == np.uint8


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((2, 2)), "pixels are uint8, got float64"),
        (np.zeros((2, 2, 2), np.uint8), "an image is"),
        (np.zeros((0, 2), np.uint8), "an image is"),
        (np.zeros((3, 2), np.uint8), "the image is 2x3, the model takes 2x2"),
    ],
)
def test_what_is_no_image_is_refused(pixels: object, reason: str) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        image.sample(pixels, rule())
