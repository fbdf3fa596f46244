"""What the pair law says of codes, held against ONNX Runtime's own kernels on this CPU."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.quantization.pair_law import obeys
from edgepack.runtime.saturation import saturates
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from tests import graphs
from tests.models import Array, proto, value, weight

node = helper.make_node

saturating = pytest.mark.skipif(
    not saturates(), reason="this CPU adds u8*s8 products in 32 bits: nothing can be shown here"
)


def product(codes: npt.NDArray[np.int8]) -> tuple[bool, bool]:
    """Whether 255 times ``codes``, shape (K,), is exact: in the default mode, in exact mode."""
    column = np.repeat(codes[:, None], 4, axis=1)
    zero = [np.array(0, np.uint8), np.array(0, np.int8)]
    model = proto(
        [node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])],
        {"b": column, "az": zero[0], "bz": zero[1]},
        inputs=[value("a", [1, len(codes)], TensorProto.UINT8)],
        outputs=[value("y", [1, 4], TensorProto.INT32)],
    ).SerializeToString()
    sample = {"a": np.full((1, len(codes)), 255, np.uint8)}
    want = 255 * int(codes.astype(int).sum())
    runs = [Session(model, Options(exact=exact)).run(sample)["y"] for exact in (False, True)]
    return bool((runs[0] == want).all()), bool((runs[1] == want).all())


@saturating
@pytest.mark.parametrize(
    "codes",
    [
        *([64, 64], [127, 1], [-127, -1], [1, 127, 127, 1], [1, 127, 127], [127], [0, 0, 64, 64]),
        *([65, 65], [64, 65], [127, 2], [-64, -65], [127, 127, 1], [0, 0, 127, 127]),
    ],
)
def test_a_product_is_exact_just_where_its_codes_keep_the_law(codes: Sequence[int]) -> None:
    array = np.array(codes, np.int8)
    assert product(array) == (obeys(array[:, None]), True)


@saturating
def test_random_codes_are_exact_wherever_they_keep_the_law() -> None:
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for size in (2, 3, 8, 17, 33):
        for _ in range(6):
            codes = rng.integers(0, 75, size).astype(np.int8)
            lawful = obeys(codes[:, None])
            seen[lawful] += 1
            assert product(codes)[0] == lawful
    assert min(seen.values()) > 3


def quantized(model: ir.Model, listed: list[Sample], scheme: str) -> ir.Model:
    context = graphs.context(graphs.SCHEMES[scheme], listed)
    return apply(QuantizeStatic(), "quantize_static", model, context)[0]


def both(model: ir.Model, listed: list[Sample]) -> bool:
    """Whether the default and the exact mode of the runtime agree bit for bit."""
    default, exact = (graphs.run(model, listed, Options(exact=e)) for e in (False, True))
    return all(np.array_equal(a["y"], b["y"]) for a, b in zip(default, exact, strict=True))


def ones(model: ir.Model) -> list[Sample]:
    """Return samples whose codes are all 255."""
    return [{name: np.ones_like(x) for name, x in s.items()} for s in graphs.samples(model, 1)]


def conv(kernel: Array, spatial: Sequence[int], group: int = 1) -> ir.Model:
    return graphs.network(
        [node("Conv", ["x", "w"], ["y"], name="conv", group=group)],
        {"w": kernel},
        shape=[1, kernel.shape[1] * group, *spatial],
    )


SHAPES = {
    "even channels": ((8, 4, 3, 3), (9, 9), 1),
    "odd channels": ((5, 3, 3, 3), (9, 9), 1),
    "one channel": ((8, 1, 3, 3), (9, 9), 1),
    "pointwise": ((33, 64, 1, 1), (5, 5), 1),
    "groups": ((6, 3, 3, 3), (9, 9), 2),
    "two filters a channel": ((16, 1, 3, 3), (9, 9), 8),
    "flat kernel": ((4, 3, 1, 9), (6, 20), 1),
    "one dimension": ((5, 5, 4), (16,), 1),
    "one dimension, groups": ((6, 3, 5), (16,), 2),
    "three dimensions": ((4, 3, 3, 3, 3), (6, 6, 6), 1),
}
"""Convolutions whose kernels read pairs in different orders."""


@saturating
@pytest.mark.parametrize("name", SHAPES)
def test_a_constant_convolution_saturates_without_the_law_and_not_with_it(name: str) -> None:
    shape, spatial, group = SHAPES[name]
    model = conv(np.ones(shape, np.float32), spatial, group)
    assert not both(quantized(model, ones(model), "u8s8"), ones(model))
    assert both(quantized(model, ones(model), "u8s8-pair"), ones(model))


@saturating
@pytest.mark.parametrize("name", SHAPES)
def test_weights_that_keep_the_law_in_one_order_only_do_not_saturate(name: str) -> None:
    # 127 beside 1 along the channels is lawful; a kernel that read along positions would see
    # 127 beside 127
    shape, spatial, group = SHAPES[name]
    kernel = np.ones(shape, np.float32)
    kernel[:, 0::2] = 127
    model = conv(kernel, spatial, group)
    assert both(quantized(model, ones(model), "u8s8-pair"), ones(model))


DEPTHWISE = {
    "3x3": ((8, 1, 3, 3), (9, 9), 8),
    "5x5, odd": ((7, 1, 5, 5), (9, 9), 7),
    "32 channels": ((32, 1, 3, 3), (16, 16), 32),
    "one dimension": ((8, 1, 7), (32,), 8),
    "three dimensions": ((8, 1, 3, 3, 3), (5, 5, 5), 8),
    "one into one": ((1, 1, 5, 5), (9, 9), 1),
}


@saturating
@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_kernels_never_saturate(name: str) -> None:
    shape, spatial, group = DEPTHWISE[name]
    model = conv(np.ones(shape, np.float32), spatial, group)
    lawful = quantized(model, ones(model), "u8s8-pair")
    restored = lawful.graph.initializers["conv.weight"].const_value
    assert restored is not None
    assert restored.numpy().max() == 127, "a depthwise filter keeps its eight bits"
    assert both(lawful, ones(model))


@saturating
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("size", [(64, 16), (33, 5)])
def test_a_constant_product_saturates_without_the_law_and_not_with_it(
    rows: int, size: tuple[int, int]
) -> None:
    model = graphs.network(
        [node("MatMul", ["x", "w"], ["y"], name="matmul")],
        {"w": np.ones(size, np.float32)},
        shape=[rows, size[0]],
    )
    assert not both(quantized(model, ones(model), "u8s8"), ones(model))
    assert both(quantized(model, ones(model), "u8s8-pair"), ones(model))


def test_exact_mode_computes_what_integers_say() -> None:
    model = graphs.network(
        [node("MatMul", ["x", "w"], ["y"], name="matmul")], {"w": weight(33, 5)}, shape=[4, 33]
    )
    listed = graphs.samples(model, 2)
    done = quantized(model, listed, "u8s8")
    parts = {name: v.const_value for name, v in done.graph.initializers.items()}
    arrays = {name: tensor.numpy() for name, tensor in parts.items() if tensor is not None}
    for sample, got in zip(listed, graphs.run(done, listed, Options(exact=True)), strict=True):
        step, zero = arrays["x.scale"], arrays["x.zero_point"].astype(int)
        codes = np.clip(np.rint(sample["x"].astype(np.float32) / step) + zero, 0, 255).astype(int)
        total = (codes - zero) @ arrays["matmul.weight"].astype(int)
        want = total * (arrays["matmul.weight.scale"].astype(np.float64) * float(step))
        # one float32 multiplication of the two scales and one with the sum
        np.testing.assert_allclose(got["y"].astype(np.float64), want, rtol=3e-7)
