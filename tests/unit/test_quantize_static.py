import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.base.errors import ModelError, RequestError
from edgepack.graph.constants import constant
from edgepack.passes import Context, PassReport, Skip, apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from tests import convolutions, graphs, zoo
from tests.models import Array, weight

node = helper.make_node
EXACT = Options(exact=True)


def quantized(
    model: ir.Model, listed: list[Sample], scheme: str = "u8s8-pair", *exclude: str
) -> tuple[ir.Model, PassReport]:
    context = graphs.context(graphs.SCHEMES[scheme], listed)
    return apply(QuantizeStatic(exclude=exclude), "quantize_static", model, context)


def arrays(model: ir.Model) -> dict[str, Array]:
    values = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {name: tensor.numpy() for name, tensor in values.items() if tensor is not None}


def test_the_numbers_of_a_quantized_product_worked_by_hand() -> None:
    model = graphs.network(
        [node("Gemm", ["x", "w", "b"], ["y"], name="gemm")],
        {
            "w": np.array([[127, 0.5], [1, 0]], np.float32),
            "b": np.array([3, -1], np.float32),
        },
        shape=[1, 2],
    )
    listed: list[Sample] = [{"x": np.array([[-55, 200]], np.float32)}]
    done, report = quantized(model, listed, "u8s8")
    found = arrays(done)
    assert (float(found["x.scale"]), int(found["x.zero_point"])) == (1, 55)
    assert found["gemm.weight"].tolist() == [[127, 127], [1, 0]]
    scales = np.array([1, 0.5 / 127], np.float32)
    np.testing.assert_array_equal(found["gemm.weight.scale"], scales)
    assert found["gemm.bias"].tolist() == [3, -254]
    np.testing.assert_array_equal(found["gemm.bias.scale"], scales)
    assert [(e.where, e.what) for e in report.edits] == [("gemm", "4 weights to int8")]
    (got,) = graphs.run(done, listed, EXACT)
    np.testing.assert_allclose(
        got["y"].astype(np.float64), [[-55 * 127 + 200 + 3, -27.5 - 1]], rtol=1e-6
    )


def test_a_target_without_integer_kernels_skips_it() -> None:
    found = QuantizeStatic().fit(graphs.target(None))
    assert isinstance(found, Skip)
    assert found.use == "quantize_static"
    int8 = graphs.target(graphs.SCHEMES["u8s8"])
    assert QuantizeStatic().fit(int8) == QuantizeStatic()


def test_without_calibration_data_nothing_is_quantized_and_a_sentence_says_so() -> None:
    context = Context(graphs.target(graphs.SCHEMES["u8s8"]))
    done, report = apply(QuantizeStatic(), "quantize_static", zoo.linear(), context)
    assert graphs.operators(done) == ["MatMul"]
    assert [(e.where, e.left, e.what) for e in report.edits] == [
        ("matmul", True, "there are no calibration data")
    ]


def test_a_node_that_is_not_there_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="no node named 'conv3'") as caught:
        quantized(convolutions.residual(), [], "u8s8", "conv3")
    assert caught.value.code == "E-NODE"
    assert caught.value.hint == "did you mean 'conv2'?"


def test_an_excluded_node_reads_and_writes_float() -> None:
    model = convolutions.residual()
    listed = graphs.samples(model)
    done, report = quantized(model, listed, "u8s8", "conv2")
    (conv,) = [each for each in done.graph if each.name == "conv2"]
    assert constant(conv.inputs[1]) is not None
    assert ("conv2", "excluded by the recipe") in [(e.where, e.what) for e in report.edits]
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(done, listed, EXACT), "y") > 30


def test_a_node_that_the_gate_spares_is_left_with_that_reason() -> None:
    model = convolutions.residual()
    context = graphs.context(graphs.SCHEMES["u8s8"], graphs.samples(model))
    context = dataclasses.replace(context, spared={"conv2": "float", "gone": "float"})
    _, report = apply(QuantizeStatic(), "quantize_static", model, context)
    assert ("conv2", "spared by the gate") in [(e.where, e.what) for e in report.edits]


def test_quantizing_twice_is_an_error_that_says_what_to_do() -> None:
    model = zoo.linear()
    listed = graphs.samples(model)
    done, _ = quantized(model, listed)
    with pytest.raises(ModelError) as caught:
        quantized(done, listed)
    assert (caught.value.code, caught.value.exit_code) == ("E-QUANT-TWICE", 3)
    assert caught.value.hint == "give the float model"


def test_where_nothing_can_be_quantized_every_node_says_why() -> None:
    done, report = quantized(zoo.nothing(), graphs.samples(zoo.nothing()))
    assert graphs.operators(done) == ["Sin"]
    assert [(e.where, e.what, e.left) for e in report.edits] == [
        ("sin", "Sin has no static integer kernel here", True)
    ]


def test_a_float_reader_of_a_float_result_keeps_it() -> None:
    model = graphs.network(
        [
            node("MatMul", ["x", "w1"], ["m"], name="matmul1"),
            node("MatMul", ["m", "w2"], ["n"], name="matmul2"),
            node("Add", ["m", "n"], ["y"], name="add"),
        ],
        {"w1": weight(8, 8) / 3, "w2": weight(8, 8, seed=1) / 3},
        shape=["batch", 8],
        outputs=["y", "m"],
    )
    listed = graphs.samples(model)
    done, _ = quantized(model, listed, "u8s8", "add")
    (add,) = [each for each in done.graph if each.op_type == "Add"]
    assert [value.name for value in add.inputs if value is not None] == ["m", "n"]
    assert [value.name for value in done.graph.outputs] == ["y", "m"]


def test_a_tensor_that_exists_only_as_codes_is_restored_for_everyone() -> None:
    model = convolutions.mixed_readers()
    done, _ = quantized(model, graphs.samples(model))
    (gate,) = [each for each in done.graph if each.op_type == "Sigmoid"]
    source = gate.inputs[0]
    assert source is not None
    maker = source.producer()
    assert maker is not None
    assert maker.op_type == "DequantizeLinear"


def test_an_output_made_of_codes_is_restored_under_its_own_name() -> None:
    model = convolutions.relu_output()
    done, _ = quantized(model, graphs.samples(model))
    makers = [value.producer() for value in done.graph.outputs]
    assert [value.name for value in done.graph.outputs] == ["r", "y"]
    assert [maker.op_type for maker in makers if maker is not None] == ["DequantizeLinear"] * 2


@pytest.mark.parametrize("scheme", graphs.SCHEMES)
def test_a_target_that_takes_no_integer_bias_gets_a_float_one(scheme: str) -> None:
    model = zoo.gemms(transposed=False, bias=True)
    found = arrays(quantized(model, graphs.samples(model), scheme)[0])
    if graphs.SCHEMES[scheme].bias == "int32":
        assert found["gemm1.bias"].dtype == np.int32
    else:
        assert found["b1"].dtype == np.float32
        assert "gemm1.bias" not in found


def kernel(*, convolution: bool, weights: Array, bias: Array | None) -> ir.Model:
    """Return one convolution or product, then Relu, from eight channels to the weight's columns."""
    names = ["x", "w"] if bias is None else ["x", "w", "b"]
    extra = {} if bias is None else {"b": bias}
    if convolution:
        conv = node("Conv", names, ["c"], name="layer")
        four = np.ascontiguousarray(weights.T)[:, :, None, None]
        return graphs.network(
            [conv, node("Relu", ["c"], ["y"], name="relu")],
            {"w": four, **extra},
            shape=["batch", 8, 4, 4],
        )
    gemm = node("Gemm", names, ["c"], name="layer")
    return graphs.network(
        [gemm, node("Relu", ["c"], ["y"], name="relu")],
        {"w": weights, **extra},
        shape=["batch", 8],
    )


def scaled(*factors: float) -> Array:
    return weight(8, len(factors)) * np.array(factors, np.float32)


EXTREMES: dict[str, tuple[Array, Array | None]] = {
    "tiny weights, large bias": (scaled(1e-12, 1e-12, 1), np.array([5, -5, 5], np.float32)),
    "tiny weights, no bias": (scaled(1e-12, 1, 1e-20), None),
    "a channel of zeros": (scaled(0, 1, 1), np.array([0, 1, 0], np.float32)),
    "a channel of zeros with a bias": (scaled(0, 1, 0), np.array([3, 1, -2], np.float32)),
    "zeros only": (scaled(0, 0, 0), np.array([3, 1, 0], np.float32)),
    "zeros and no bias": (scaled(0, 0, 0), None),
    "subnormal weights": (scaled(1e-40, 1, 1e-44), np.array([0, 1, 2], np.float32)),
    "smallest normal weights": (scaled(2e-38, 1, 1), np.array([1e-38, 1, 2], np.float32)),
    "huge weights": (scaled(1e30, 1, 1e-30), np.array([1e30, 1, 1e-30], np.float32)),
    "huge bias": (scaled(1, 1, 1), np.array([1e30, 0, 1], np.float32)),
}


@pytest.mark.parametrize("scheme", graphs.SCHEMES)
@pytest.mark.parametrize("convolution", [True, False], ids=["conv", "gemm"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_weights_give_finite_scales_and_right_outputs(
    name: str, convolution: object, scheme: str
) -> None:
    weights, bias = EXTREMES[name]
    model = kernel(convolution=bool(convolution), weights=weights, bias=bias)
    listed = graphs.samples(model)
    done, _ = quantized(model, listed, scheme)
    for found, array in arrays(done).items():
        if found.endswith("scale"):
            assert np.isfinite(array.astype(np.float64)).all()
            assert (array.astype(np.float64) > 0).all()
    want = np.concatenate([run["y"] for run in graphs.run(model, listed)]).astype(np.float64)
    got = np.concatenate([run["y"] for run in graphs.run(done, listed, EXACT)]).astype(np.float64)
    assert np.isfinite(got).all()
    # the output has one scale: what a channel loses is measured against the largest one
    assert np.abs(got - want).max() <= 0.03 * max(np.abs(want).max(), 1e-12)


@pytest.mark.parametrize("scheme", graphs.SCHEMES)
@pytest.mark.parametrize("convolution", [True, False], ids=["conv", "gemm"])
def test_activations_that_are_always_zero_leave_the_bias(convolution: object, scheme: str) -> None:
    bias = np.array([1, -2, 3], np.float32)
    model = kernel(convolution=bool(convolution), weights=scaled(1, 1, 1), bias=bias)
    listed: list[Sample] = [{"x": np.zeros_like(s["x"])} for s in graphs.samples(model)]
    done, _ = quantized(model, listed, scheme)
    want, got = graphs.run(model, listed), graphs.run(done, listed, EXACT)
    for before, after in zip(want, got, strict=True):
        np.testing.assert_allclose(
            after["y"].astype(float), before["y"].astype(float), rtol=0, atol=3 / 127
        )


@pytest.mark.parametrize("shape", [[8], ["batch", 8], ["batch", 3, 8], [2, 3, 5, 8]])
def test_a_product_of_any_rank_is_quantized(shape: list[int | str]) -> None:
    model = graphs.network(
        [node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weight(8, 5)}, shape=shape
    )
    listed = graphs.samples(model)
    done, report = quantized(model, listed)
    assert report.edits[0].what == "40 weights to int8 under the pair law"
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(done, listed, EXACT), "y") > 30


def test_integer_weights_of_128_are_no_trap_for_unsigned_ones() -> None:
    scheme = graphs.SCHEMES["u8s8"]
    facts = type(scheme)(activations="uint8", weights="uint8")
    model = convolutions.residual()
    listed = graphs.samples(model)
    done, _ = apply(QuantizeStatic(), "quantize_static", model, graphs.context(facts, listed))
    assert arrays(done)["conv2.weight"].dtype == np.uint8
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(done, listed, EXACT), "y") > 30
