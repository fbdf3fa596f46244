"""Laws of integers with ranges at run time, on every model of the zoo."""

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.graph.constants import constant
from edgepack.graph.lookup import label
from edgepack.graph.precision import integer_nodes, precisions, restores, whole_precision
from edgepack.graph.write import to_bytes
from edgepack.passes import PassReport, Step, apply
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from edgepack.quantization.pair_law import obeys
from edgepack.runtime.saturation import saturates
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from tests import graphs, zoo

FLOOR_DB = 25.0
"""As for static ranges: eight bits give 35 to 45 dB here, one wrong scale or axis less than 15."""

every_model = pytest.mark.parametrize("name", zoo.ZOO)
STEPS: dict[str, tuple[Step, ...]] = {
    "dynamic": (QuantizeDynamic(min_size=1),),
    "static, then dynamic": (QuantizeStatic(), QuantizeDynamic(min_size=1)),
}
both = pytest.mark.parametrize("steps", STEPS)


@functools.cache
def done(
    name: str, steps: str, scheme: str = "u8s8-pair"
) -> tuple[ir.Model, list[Sample], PassReport]:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model)
    context = graphs.context(graphs.SCHEMES[scheme], listed)
    model, report = apply(Tidy(), "tidy", model, context)
    for step in STEPS[steps]:
        model, report = apply(step, "step", model, context)
    return model, listed, report


@every_model
@both
@pytest.mark.parametrize("scheme", graphs.SCHEMES)
def test_integers_are_close_to_float_in_exact_mode(name: str, steps: str, scheme: str) -> None:
    model, listed, _ = done(name, steps, scheme)
    want = graphs.run(zoo.ZOO[name](), listed)
    got = graphs.run(model, listed, Options(exact=True))
    for output in want[0]:
        assert graphs.sqnr(want, got, output) > FLOOR_DB, output


@every_model
@both
def test_both_modes_agree_bit_for_bit_under_the_law(name: str, steps: str) -> None:
    if not saturates():
        pytest.skip("this CPU does not saturate: both modes compute the same anyway")
    model, listed, _ = done(name, steps)
    default, exact = (graphs.run(model, listed, Options(exact=e)) for e in (False, True))
    for here, there in zip(default, exact, strict=True):
        for output, array in there.items():
            np.testing.assert_array_equal(here[output], array)


def test_without_the_law_these_kernels_do_saturate() -> None:
    if not saturates():
        pytest.skip("this CPU does not saturate: nothing can be shown")
    for name in ("linear", "gemm_bias", "products", "lstm", "recurrent"):
        model, listed, _ = done(name, "dynamic", "u8s8")
        pair = [graphs.run(model, listed, Options(exact=e)) for e in (False, True)]
        output = next(iter(pair[0][0]))
        assert any(not np.array_equal(a[output], b[output]) for a, b in zip(*pair, strict=True)), (
            name
        )


@every_model
def test_weights_keep_the_pair_law_along_k(name: str) -> None:
    for node in done(name, "dynamic")[0].graph:
        if node.op_type == "MatMulInteger":
            codes = constant(node.inputs[1])
            assert codes is not None
            assert codes.dtype == np.int8
            assert obeys(codes)
        if node.op_type == "DynamicQuantizeLSTM":
            for each in map(constant, node.inputs[1:3]):
                assert each is not None
                assert all(obeys(direction) for direction in each)


@every_model
def test_every_node_is_quantized_or_left_with_a_reason(name: str) -> None:
    model, _, report = done(name, "dynamic")
    told = {edit.where for edit in report.edits}
    quiet = {"MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "DepthToSpace"}
    quiet |= {"Identity", "Slice", "Relu", "Clip", "Cast", "Gather", "DynamicQuantizeLinear"}
    for node in model.graph:
        if whole_precision(node) == "int8" or restores(node) or node.op_type in quiet:
            continue
        assert label(node) in told or str(node.name).endswith(".bias"), label(node)


@every_model
def test_what_static_ranges_made_integer_is_left_as_it_is(name: str) -> None:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model)
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], listed)
    first, _ = apply(QuantizeStatic(), "quantize_static", model, context)
    second, report = apply(QuantizeDynamic(min_size=1), "quantize_dynamic", first, context)
    assert set(integer_nodes(first)) <= set(integer_nodes(second))
    told = {edit.where.partition(" ")[0] for edit in report.edits}
    assert not told & set(integer_nodes(first))


def optimized(name: str, folder: Path) -> Counter[str]:
    path = folder / "optimized.onnx"
    Session(to_bytes(done(name, "dynamic")[0]), Options(level="extended", save_optimized=path))
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    ("name", "products"),
    [("linear", 1), ("gemm", 2), ("gemm_bias", 2), ("gemm_transposed_bias", 2), ("products", 2)],
)
def test_the_runtime_fuses_a_product_with_its_rounding_and_bias(
    name: str, products: int, tmp_path: Path
) -> None:
    ops = optimized(name, tmp_path)
    assert ops == Counter(DynamicQuantizeMatMul=products, **({"Relu": 1} if products > 1 else {}))


def test_query_key_and_value_share_one_rounded_input(tmp_path: Path) -> None:
    ops = optimized("transformer", tmp_path)
    assert (ops["DynamicQuantizeLinear"], ops["MatMulIntegerToFloat"]) == (1, 3)
    assert ops["DynamicQuantizeMatMul"] == 3
    assert ops["MatMul"] + ops["FusedMatMul"] == 2, "attention scores and their mix stay in float"


def test_both_directions_of_an_lstm_become_integer_and_a_gru_stays() -> None:
    model, _, report = done("recurrent", "dynamic")
    assert precisions(model)["DynamicQuantizeLSTM"] == {"int8": 1}
    assert precisions(model)["GRU"] == {"float32": 1}
    reasons = {edit.where: edit.what for edit in report.edits if edit.left}
    assert reasons["gru"] == "the runtime has no integer kernel for it"


def test_a_table_that_others_read_stays_and_the_rest_get_a_scale_per_row() -> None:
    model, _, report = done("embedding", "dynamic")
    assert precisions(model)["Gather"] == {"float32": 1, "int8": 3}
    left = {edit.where: edit.what for edit in report.edits if edit.left}
    assert left["both"] == "its table is also read by add"
    codes = [value for value in model.graph.initializers if value.endswith(".rows")]
    assert sorted(codes) == ["kinds.rows", "words.rows"], "two look-ups share one table"
