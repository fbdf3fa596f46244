"""Laws of the affine map, with ONNX Runtime's own QuantizeLinear as the oracle."""

import functools

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper

from edgepack.base.affine import dequantize, quantize
from edgepack.runtime.session import Session
from tests.models import proto, value

Reals = npt.NDArray[np.float32]

scales = st.floats(2**-100, 2**100, width=32, exclude_min=True)
reals = arrays(
    np.float32, array_shapes(max_dims=3, max_side=6), elements=st.floats(width=32, allow_nan=False)
)
types = st.sampled_from(["uint8", "int8"])


@functools.cache
def oracle(kind: str) -> Session:
    code = TensorProto.UINT8 if kind == "uint8" else TensorProto.INT8
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = proto(
        nodes,
        inputs=[value("x", None), value("scale", []), value("zero", [], code)],
        outputs=[value("q", None, code), value("y", None)],
    )
    return Session(model.SerializeToString())


@given(reals, scales, types, st.integers(0, 255))
def test_codes_and_what_they_stand_for_are_those_of_the_runtime(
    x: Reals, scale: float, kind: str, zero: int
) -> None:
    step = np.array(scale, np.float32)
    middle = np.array(zero + np.iinfo(kind).min, kind)
    got = oracle(kind).run({"x": x, "scale": step, "zero": middle})
    codes = quantize(x, step, middle)
    np.testing.assert_array_equal(codes, got["q"])
    np.testing.assert_array_equal(dequantize(codes, step, middle), got["y"])


@given(arrays(np.int8, array_shapes(max_dims=3)), scales, st.integers(-128, 127))
def test_a_code_survives_the_way_to_its_real_number_and_back(
    codes: npt.NDArray[np.int8], scale: float, zero: int
) -> None:
    step, middle = np.array(scale, np.float32), np.array(zero, np.int8)
    np.testing.assert_array_equal(quantize(dequantize(codes, step, middle), step, middle), codes)


@given(st.data(), st.integers(0, 2))
@settings(max_examples=50)
def test_a_scale_per_channel_does_what_one_scale_does_to_each_slice(
    data: st.DataObject, axis: int
) -> None:
    x = data.draw(arrays(np.float32, (2, 3, 4), elements=st.floats(-1e3, 1e3, width=32)))
    channels = x.shape[axis]
    step = data.draw(arrays(np.float32, channels, elements=st.floats(0.125, 8, width=32)))
    zero = data.draw(arrays(np.uint8, channels))
    whole = quantize(x, step, zero, axis=axis)
    for index in range(channels):
        part = quantize(x.take(index, axis), np.asarray(step[index]), np.asarray(zero[index]))
        np.testing.assert_array_equal(whole.take(index, axis), part)
