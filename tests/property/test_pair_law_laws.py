"""Laws of the weight scales for CPUs that saturate."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgepack.quantization.pair_law import Weights, lawful_scales, obeys
from edgepack.quantization.scales import orders_of_k, quantize_weight
from edgepack.quantization.scheme import Scheme, scheme_for
from edgepack.spec.target import Int8

LAWFUL = scheme_for(Int8(activations="uint8", saturating=True))
PLAIN = scheme_for(Int8(activations="uint8"))

Reals = npt.NDArray[np.float32]

finite = st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=True)
ordinary = st.floats(-4, 4, width=32, allow_subnormal=False)
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=finite)
kernels = arrays(np.float32, array_shapes(min_dims=3, max_dims=5, max_side=4), elements=ordinary)


def stored(scales: Weights) -> Weights:
    """Return scales as the model file has them."""
    return scales.astype(np.float32).astype(np.float64)


@given(matrices)
def test_codes_obey_the_law_and_scales_are_finite(weights: Reals) -> None:
    exact = weights.astype(np.float64)
    scales = lawful_scales((exact,))
    assert np.isfinite(scales.astype(np.float32)).all()
    assert (scales.astype(np.float32) > 0).all()
    codes = np.rint(exact / stored(scales))
    assert obeys(np.clip(codes, -127, 127).astype(np.int64))
    assert np.abs(codes).max() <= 127, "nothing is clipped: the scale is large enough"


@given(matrices)
def test_a_lawful_scale_is_never_coarser_than_seven_bits(weights: Reals) -> None:
    exact = weights.astype(np.float64)
    seven = np.maximum(np.abs(exact).max(axis=0) / 64, np.finfo(np.float32).tiny)
    assert (lawful_scales((exact,)) <= seven * 1.001).all()  # at most one step of raising


@given(matrices, st.floats(1, 100))
def test_a_larger_scale_obeys_too(weights: Reals, factor: float) -> None:
    exact = weights.astype(np.float64) / 128  # room for the factor in float32
    scales = stored(lawful_scales((exact,)) * factor)
    assert obeys(np.clip(np.rint(exact / scales), -127, 127).astype(np.int64))


@given(kernels)
@settings(max_examples=60)
def test_a_convolution_obeys_in_every_order_of_its_kernel(weights: Reals) -> None:
    codes = quantize_weight(weights, 0, LAWFUL, np.zeros(len(weights))).codes
    orders = orders_of_k(codes.astype(np.float64), 0)
    assert all(obeys(order.astype(np.int64)) for order in orders)
    flat = np.abs(codes.astype(np.int64)).reshape(len(codes), -1).sum(axis=1)
    for order in orders:
        assert np.abs(order).sum(axis=0).tolist() == flat.tolist(), "an order loses no weight"


@given(matrices, st.sampled_from([LAWFUL, PLAIN]), st.sampled_from([0, 1]))
def test_a_weight_is_off_by_at_most_half_a_code(weights: Reals, scheme: Scheme, axis: int) -> None:
    packed = quantize_weight(weights, axis, scheme, np.zeros(weights.shape[axis]))
    assert packed.codes.dtype == np.int8
    assert (packed.scale > 0).all()
    assert np.isfinite(packed.scale).all()
    shape = (-1, 1) if axis == 0 else (1, -1)
    step = packed.scale.astype(np.float64).reshape(shape)
    gap = np.abs(packed.codes * step - weights.astype(np.float64))
    # a scale rounded down to float32 may clip the largest weight by 127 half-ulps of it
    assert (gap <= step * (0.5 + 127 * np.finfo(np.float32).eps)).all()
