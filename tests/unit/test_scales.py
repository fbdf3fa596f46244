import numpy as np
import pytest

from edgepack.quantization.scales import (
    activation_scale,
    least_scales,
    orders_of_k,
    quantize_weight,
)
from edgepack.quantization.scheme import scheme_for
from edgepack.quantization.writer import quantize_bias
from edgepack.spec.target import Int8

U8 = scheme_for(Int8(activations="uint8"))
S8 = scheme_for(Int8(activations="int8"))
SYMMETRIC = scheme_for(Int8(activations="int8", symmetric=True))
U8_WEIGHTS = scheme_for(Int8(activations="uint8", weights="uint8", saturating=True))


@pytest.mark.parametrize(
    ("bounds", "scheme", "scale", "zero"),
    [
        ((0.0, 255.0), U8, 1, 0),
        ((-255.0, 0.0), U8, 1, 255),
        ((-128.0, 127.0), U8, 1, 128),
        ((5.0, 255.0), U8, 1, 0),  # widened to hold 0
        ((-255.0, -5.0), U8, 1, 255),
        ((0.0, 255.0), S8, 1, -128),
        ((-128.0, 127.0), S8, 1, 0),
        ((-3.0, 127.0), SYMMETRIC, 1, 0),
        ((-254.0, 127.0), SYMMETRIC, 2, 0),
    ],
)
def test_a_range_becomes_a_scale_and_a_zero_point(
    bounds: tuple[float, float], scheme: object, scale: float, zero: int
) -> None:
    assert scheme in (U8, S8, SYMMETRIC)
    found = activation_scale(bounds, U8 if scheme is U8 else S8 if scheme is S8 else SYMMETRIC)
    assert (float(found.scale), int(found.zero_point)) == (scale, zero)
    assert found.scale.shape == found.zero_point.shape == ()
    assert found.scale.dtype == np.float32
    assert found.zero_point.dtype == (np.uint8 if scheme is U8 else np.int8)


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (0.0, 1e-30), (-3e38, 3e38), (1e-45, 1e-44)])
@pytest.mark.parametrize("scheme", [U8, S8, SYMMETRIC])
def test_a_scale_is_finite_and_positive_whatever_was_seen(
    bounds: tuple[float, float], scheme: object
) -> None:
    found = activation_scale(bounds, scheme)  # type: ignore[arg-type]
    assert 0 < float(found.scale) < np.inf


def test_a_weight_of_each_axis_gets_one_scale_per_channel() -> None:
    weight = np.array([[127.0, 0.5], [-1, 127 / 4]], np.float32)
    rows = quantize_weight(weight, 0, U8, np.zeros(2))
    assert rows.scale.tolist() == [1, 0.25]
    assert rows.codes.tolist() == [[127, 0], [-4, 127]]
    columns = quantize_weight(weight, 1, U8, np.zeros(2))
    assert columns.scale.tolist() == [1, 0.25]
    assert columns.codes.tolist() == [[127, 2], [-1, 127]]
    assert columns.zero_point.tolist() == [0, 0]


def test_unsigned_weights_have_their_zero_in_the_middle_and_no_law() -> None:
    packed = quantize_weight(np.array([[1, 1], [-1, 0]], np.float32), 1, U8_WEIGHTS, np.zeros(2))
    assert packed.codes.dtype == np.uint8
    assert packed.codes.tolist() == [[255, 255], [1, 128]]
    assert packed.zero_point.tolist() == [128, 128]
    assert not U8_WEIGHTS.pair_law


def test_the_law_binds_only_where_unsigned_meets_signed_and_saturates() -> None:
    assert scheme_for(Int8(activations="uint8", saturating=True)).pair_law
    assert not scheme_for(Int8(activations="uint8")).pair_law
    assert not scheme_for(Int8(activations="int8", saturating=True)).pair_law


def test_a_depthwise_filter_keeps_eight_bits() -> None:
    lawful = scheme_for(Int8(activations="uint8", saturating=True))
    weight = np.ones((2, 1, 3, 3), np.float32)
    assert quantize_weight(weight, 0, lawful, np.zeros(2), depthwise=True).codes.max() == 127
    assert quantize_weight(weight, 0, lawful, np.zeros(2)).codes.max() == 64


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-40, 1e-38])
def test_a_channel_of_nothing_has_a_finite_scale_and_codes_of_zero_or_less_than_all(
    value: float,
) -> None:
    weight = np.full((2, 3), value, np.float32)
    weight[1] = 1
    packed = quantize_weight(weight, 0, U8, np.zeros(2))
    assert 0 < packed.scale[0] < 1e-37
    assert np.abs(packed.codes[0].astype(int)).max() <= 127
    assert packed.codes[1].tolist() == [127, 127, 127]


def test_a_large_bias_raises_the_scale_of_its_own_channel_alone() -> None:
    # onnxruntime#22020: 5 / (1e-12 / 127 * 0.01) is 6e16 and wraps around an int32
    bias = np.array([5, 0.001], np.float32)
    least = least_scales(bias, 0.01, 2)
    packed = quantize_weight(np.array([[1e-12], [1]], np.float32), 0, U8, least)
    codes, scale = quantize_bias(bias, packed.scale, 0.01)
    np.testing.assert_allclose(codes * scale.astype(np.float64), bias, rtol=0, atol=scale.max())
    assert np.abs(codes.astype(np.int64)).max() <= 2**30
    assert packed.scale[1] == np.float32(1 / 127)


def test_no_bias_asks_for_no_scale() -> None:
    assert least_scales(None, 1.0, 3).tolist() == [0, 0, 0]


def test_a_bias_is_rounded_in_the_unit_of_the_products() -> None:
    codes, scale = quantize_bias(np.array([[1.26, -3]]), np.array([0.5, 1], np.float32), 0.5)
    assert scale.tolist() == [0.25, 0.5]
    assert codes.tolist() == [5, -6]
    assert codes.dtype == np.int32


def test_a_matrix_has_one_order_of_k() -> None:
    (order,) = orders_of_k(np.arange(6.0).reshape(3, 2), 1)
    assert order.tolist() == [[0, 1], [2, 3], [4, 5]]
    (order,) = orders_of_k(np.arange(6.0).reshape(2, 3), 0)
    assert order.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_convolution_is_read_with_channels_innermost_padded_or_not() -> None:
    weight = np.arange(6.0).reshape(1, 3, 1, 2)  # channels [0, 1], [2, 3], [4, 5] over two places
    flat, padded = orders_of_k(weight, 0)
    assert flat[:, 0].tolist() == [0, 2, 4, 1, 3, 5]
    assert padded[:, 0].tolist() == [0, 2, 4, 0, 1, 3, 5, 0]


def test_a_one_dimensional_kernel_is_also_read_along_its_length() -> None:
    orders = orders_of_k(np.arange(4.0).reshape(1, 2, 2), 0)
    assert [order[:, 0].tolist() for order in orders] == [[0, 2, 1, 3], [0, 2, 1, 3], [0, 1, 2, 3]]


def test_depthwise_weights_have_a_type_of_their_own() -> None:
    scheme = scheme_for(Int8("uint8", weights="uint8", depthwise="int8"))
    weight = np.linspace(-1, 1, 4 * 9).reshape(4, 1, 3, 3)
    dense, deep = (
        quantize_weight(weight, 0, scheme, np.zeros(4), depthwise=each) for each in (False, True)
    )
    assert (dense.codes.dtype.name, deep.codes.dtype.name) == ("uint8", "int8")
    np.testing.assert_array_equal(dense.codes.astype(int) - 128, deep.codes)
    assert set(dense.zero_point) == {128}
    assert set(deep.zero_point) == {0}
