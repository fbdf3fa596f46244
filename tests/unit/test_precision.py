import onnx_ir as ir
import pytest

from edgepack.base import registry
from edgepack.graph.precision import integer_nodes, precisions
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from tests import graphs, zoo


def quantized(name: str, scheme: str, *more: str) -> ir.Model:
    model = zoo.ZOO[name]()
    context = graphs.context(graphs.SCHEMES[scheme], graphs.samples(model))
    for use in ("tidy", "fold_batchnorm", "quantize_static", *more):
        model, _ = apply(registry.find("passes", use)(), use, model, context)
    return model


def test_a_float_model_computes_in_float32() -> None:
    assert precisions(zoo.gemms(transposed=False, bias=True)) == {
        "Gemm": {"float32": 2},
        "Relu": {"float32": 1},
    }


@pytest.mark.parametrize("scheme", ["u8s8", "s8s8-symmetric"])
def test_a_quantized_network_computes_in_int8_whether_or_not_its_clamps_are_left(
    scheme: str,
) -> None:
    table = precisions(quantized("residual", scheme))
    assert table["Conv"] == {"int8": 2}
    assert table["Add"] == {"int8": 1}
    assert table["GlobalAveragePool"] == {"int8": 1}
    assert table["Gemm"] == {"int8": 1}


def test_what_stays_in_float_is_counted_as_float() -> None:
    assert precisions(quantized("mixed_readers", "u8s8")) == {
        "Conv": {"int8": 2},
        "Mul": {"float32": 1},
        "Sigmoid": {"float32": 1},
    }


def test_three_precisions_of_one_operator_are_told_apart() -> None:
    table = precisions(quantized("transformer", "s8s8-symmetric", "float16"))
    assert table["MatMul"] == {"float16": 1, "float32": 1, "int8": 6}
    assert table["Softmax"] == {"float16": 1}


def test_a_shipped_file_tells_the_same_when_it_is_read_back() -> None:
    model = quantized("lite", "u8s8-pair")
    assert precisions(parse(to_bytes(model), "again").model) == precisions(model)


@pytest.mark.parametrize("scheme", graphs.SCHEMES)
def test_integer_nodes_are_the_weighted_ones_in_graph_order(scheme: str) -> None:
    names = integer_nodes(quantized("lite", scheme))
    assert names == ("stem", "depthwise", "project", "gemm")
