"""A matrix product before a clamp whose float result is read still computes on integers.

The runtime would take the product along into float otherwise, and say nothing.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.helper import make_node as node
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepack.graph.precision import integer_nodes
from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.runtime.session import Options, Session
from edgepack.spec.target import Int8
from tests import graphs
from tests.models import weight

WEIGHTS = {
    "w1": weight(12, 16),
    "b1": weight(16),
    "w2": weight(16, 16),
    "b2": weight(16),
    "one": np.ones(16, np.float32),
    "none": np.zeros(16, np.float32),
    "low": np.array(0.25, np.float32),
    "high": np.array(3, np.float32),
}
BEHIND = {
    "Relu": node("Relu", ["a"], ["b"], name="between"),
    "Clip": node("Clip", ["a", "low", "high"], ["b"], name="between"),
    "Tanh": node("Tanh", ["a"], ["b"], name="between"),
}


def net(*rest: onnx.NodeProto, product: str = "Gemm") -> ir.Model:
    inputs = ["x", "w1", *(["b1"] if product == "Gemm" else [])]
    first = node(product, inputs, ["a"], name="first")
    return graphs.network([first, *rest], WEIGHTS, shape=("batch", 12))


def normed(activation: str, product: str = "Gemm") -> ir.Model:
    norm = node("LayerNormalization", ["b", "one", "none"], ["c"], name="norm")
    last = node("Gemm", ["c", "w2", "b2"], ["y"], name="second")
    return net(BEHIND[activation], norm, last, product=product)


def quantized(model: ir.Model) -> ir.Model:
    context = graphs.context(Int8("uint8", saturating=True), graphs.samples(model))
    return apply(QuantizeStatic(), "quantize_static", model, context)[0]


def optimized(model: ir.Model, folder: Path) -> Counter[str]:
    path = folder / "optimized.onnx"
    Session(to_bytes(model), Options(save_optimized=path))
    return Counter(each.op_type for each in onnx.load(path).graph.node)


@pytest.mark.parametrize("activation", BEHIND)
@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
def test_both_products_compute_on_integers(activation: str, product: str, tmp_path: Path) -> None:
    model = normed(activation, product)
    small = quantized(model)
    found = optimized(small, tmp_path)
    assert found["QGemm"] + found["QLinearMatMul"] + found["MatMulIntegerToFloat"] == 2
    assert {"first", "second"} <= set(integer_nodes(small))
    feeds = graphs.samples(model, seed=1)
    assert graphs.sqnr(graphs.run(model, feeds), graphs.run(small, feeds), "y") > 20


def test_a_product_before_the_last_clamp_computes_on_integers(tmp_path: Path) -> None:
    small = quantized(net(node("Relu", ["a"], ["y"], name="end")))
    assert optimized(small, tmp_path)["QGemm"] == 1


def test_a_product_that_the_runtime_takes_into_float_does_not_count(tmp_path: Path) -> None:
    small = quantized(normed("Relu"))
    between = next(each for each in small.graph if each.name == "between")
    between.replace_input_with(0, next(e for e in small.graph if e.name == "first").outputs[0])
    RemoveUnusedNodesPass()(small)
    assert optimized(small, tmp_path)["QGemm"] == 1
    assert set(integer_nodes(small)) & {"first", "second"} == {"second"}
