import numpy as np
import pytest

from edgepack.base.affine import along, dequantize, quantize

UINT8 = np.array(128, np.uint8)
INT8 = np.array(0, np.int8)


def real(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_ties_round_to_even_and_both_ends_saturate() -> None:
    codes = quantize(real(0.5, 1.5, 2.5, -0.5, -1.5, 400, -400), real(1)[0], INT8)
    assert codes.dtype == np.int8
    assert codes.tolist() == [0, 2, 2, 0, -2, 127, -128]


def test_the_zero_point_stands_for_zero() -> None:
    assert quantize(real(0, 1, -1), real(0.5)[0], UINT8).tolist() == [128, 130, 126]
    assert dequantize(UINT8.reshape(1), real(0.5)[0], UINT8).tolist() == [0]


def test_an_infinite_value_or_quotient_saturates_without_a_warning() -> None:
    tiny = np.array(np.finfo(np.float32).tiny, np.float32)
    assert quantize(real(np.inf, -np.inf, 1e30), tiny, UINT8).tolist() == [255, 0, 255]


def test_every_channel_has_its_own_scale_and_zero_point() -> None:
    x = np.ones((2, 3, 2), np.float32)
    zero = np.array([0, 10, 20], np.uint8)
    codes = quantize(x, real(1, 0.5, 0.25), zero, axis=1)
    assert codes[0].tolist() == [[1, 1], [12, 12], [24, 24]]
    np.testing.assert_array_equal(dequantize(codes, real(1, 0.5, 0.25), zero, axis=1), x)


def test_the_difference_of_codes_does_not_wrap() -> None:
    codes = np.array([-128], np.int8)
    assert dequantize(codes, real(1)[0], np.array(127, np.int8)).tolist() == [-255]


@pytest.mark.parametrize("scale", [0, -1, np.inf, np.nan])
def test_a_scale_that_is_not_finite_and_positive_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        quantize(real(1), real(scale)[0], INT8)


def test_scales_that_do_not_fit_the_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit axis None"):
        along(real(1, 2), 2, None)
    with pytest.raises(ValueError, match="does not fit axis 0"):
        along(real(1)[0], 2, 0)
    with pytest.raises(ValueError, match="broadcast"):
        quantize(np.ones((2, 4), np.float32), real(1, 2, 3), np.zeros(3, np.int8), axis=1)
