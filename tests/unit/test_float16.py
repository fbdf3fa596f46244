import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgepack.base import registry
from edgepack.base.errors import RequestError
from edgepack.graph.constants import constant
from edgepack.graph.precision import precisions
from edgepack.passes import PassReport, Skip, apply
from edgepack.passes.float16 import Float16
from edgepack.runtime.session import Options
from tests import convolutions, graphs, zoo
from tests.models import proto, value, weight

node = helper.make_node
HALF, SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT

FLOOR_DB = 55.0
"""Half precision has 11 bits, 66 dB; sums over some dozen products cost up to 6 dB here."""


def halved(model: ir.Model, **options: tuple[str, ...]) -> tuple[ir.Model, PassReport]:
    return apply(Float16(**options), "float16", model, graphs.context(None, []))


def ops(model: ir.Model) -> list[str]:
    return [f"{n.op_type}:{str(n.outputs[0].dtype).lower()}" for n in model.graph]


def close(model: ir.Model, done: ir.Model) -> bool:
    listed = graphs.samples(model)
    want, got = graphs.run(model, listed), graphs.run(done, listed)
    return all(graphs.sqnr(want, got, name) > FLOOR_DB for name in want[0])


def chain(*middle: str) -> ir.Model:
    """Return Relu, the operators in the middle, Relu."""
    names = ["x", "a", *(f"m{i}" for i in range(len(middle))), "y"]
    between = [node(op, [names[i + 1]], [names[i + 2]], name=op) for i, op in enumerate(middle)]
    return graphs.network(
        [
            node("Relu", ["x"], ["a"], name="first"),
            *between,
            node("Relu", [names[-2]], ["y"], name="last"),
        ],
        {},
        shape=["batch", 8],
    )


def test_nodes_compute_in_float16_between_two_casts() -> None:
    done, report = halved(chain("Sigmoid"))
    assert ops(done) == [
        "Cast:float16",
        "Relu:float16",
        "Sigmoid:float16",
        "Relu:float16",
        "Cast:float",
    ]
    assert [edit.what for edit in report.edits] == ["3 nodes compute in float16"]
    assert close(chain("Sigmoid"), done)


def test_a_target_without_float16_kernels_skips_it() -> None:
    found = Float16().fit(graphs.target(float16=False))
    assert isinstance(found, Skip)
    assert found.use == "float16"
    assert Float16().fit(graphs.target()) == Float16()


def test_an_excluded_node_stays_in_float32_and_says_so() -> None:
    done, report = halved(chain("Sigmoid"), exclude=("Sigmoid",))
    assert "Sigmoid:float" in ops(done)
    assert ("Sigmoid", "excluded by the recipe") in [(e.where, e.what) for e in report.edits]
    assert close(chain("Sigmoid"), done)


def test_a_name_that_is_not_there_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="no node named 'Sigmoit'") as caught:
        halved(chain("Sigmoid"), exclude=("Sigmoit",))
    assert caught.value.hint == "did you mean 'Sigmoid'?"


def test_an_input_read_by_two_nodes_is_cast_once() -> None:
    model = convolutions.input_read_twice()
    done, _ = halved(model)
    assert [n.op_type for n in done.graph if n.inputs[0] in done.graph.inputs] == ["Cast"]
    assert close(model, done)


def test_resize_stays_in_float32() -> None:
    model = graphs.network(
        [
            node("Relu", ["x"], ["a"], name="relu"),
            node("Resize", ["a", "", "scales"], ["r"], name="resize", mode="linear"),
            node("Sigmoid", ["r"], ["y"], name="sigmoid"),
        ],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    )
    done, _ = halved(model)
    assert ops(done)[1:5] == ["Relu:float16", "Cast:float", "Resize:float", "Cast:float16"]
    assert close(model, done)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(70000, "float"), (-1e9, "float"), (65504, "float16"), (-np.inf, "float16"), (0.1, "float16")],
)
def test_a_constant_that_float16_cannot_hold_keeps_its_node_in_float32(
    number: float, kind: str
) -> None:
    model = graphs.network(
        [
            node("Relu", ["x"], ["a"], name="relu"),
            node("Max", ["a", "c"], ["m"], name="max"),
            node("Sigmoid", ["m"], ["y"], name="sigmoid"),
        ],
        {"c": np.array(number, np.float32)},
        shape=["batch", 8],
    )
    done, report = halved(model)
    assert f"Max:{kind}" in ops(done)
    assert any("exceeds 65504" in edit.what for edit in report.edits) == (kind == "float")
    assert close(model, done)


def test_a_weight_of_two_nodes_is_halved_only_for_the_one_that_is() -> None:
    model = graphs.network(
        [
            node("MatMul", ["x", "w"], ["a"], name="half"),
            node("MatMul", ["a", "w"], ["b"], name="single"),
            node("MatMul", ["b", "w"], ["y"], name="again"),
        ],
        {"w": weight(8, 8) / 4},
        shape=["batch", 8],
    )
    done, _ = halved(model, exclude=("single",))
    weights = {v.name: v.dtype for v in done.graph.initializers.values()}
    assert weights == {"w": SINGLE, "w.half": HALF}
    assert close(model, done)


def test_a_subgraph_keeps_its_types_and_its_values() -> None:
    model = zoo.conditional()
    done, _ = halved(model)
    branches = next(n for n in done.graph if n.op_type == "If").attributes.values()
    inner = [n for attribute in branches for n in attribute.as_graph()]
    assert {value.dtype for n in inner for value in n.inputs if value is not None} == {SINGLE}
    assert "MatMul:float16" in ops(done)
    assert close(model, done)


def test_every_output_and_an_inner_one_keep_name_and_type() -> None:
    done, _ = halved(convolutions.two_outputs())
    assert [(v.name, v.dtype) for v in done.graph.outputs] == [("inner", SINGLE), ("y", SINGLE)]


def test_decisions_and_shapes_keep_their_types() -> None:
    model = graphs.read(
        proto(
            [
                node("Relu", ["x"], ["a"], name="relu"),
                node("ArgMax", ["a"], ["y"], name="argmax", axis=1),
                node("Shape", ["a"], ["size"], name="shape"),
            ],
            outputs=[value("y", [2, 1], TensorProto.INT64), value("size", [2], TensorProto.INT64)],
        )
    )
    done, _ = halved(model)
    assert [v.dtype for v in done.graph.outputs] == [ir.DataType.INT64, ir.DataType.INT64]
    (got,) = graphs.run(done, graphs.samples(model, 1))
    assert got["size"].tolist() == [2, 4]


def test_an_lstm_that_leaves_outputs_out_is_halved() -> None:
    model = zoo.lstm()
    done, _ = halved(model)
    assert precisions(done)["LSTM"] == {"float16": 1}
    assert [out.name for n in done.graph if n.op_type == "LSTM" for out in n.outputs][1] == ""
    assert close(model, done)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_integers_and_float16_live_in_one_model_as_tensorrt_wants(name: str) -> None:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model)
    want = graphs.run(model, listed)
    context = graphs.context(graphs.SCHEMES["s8s8-symmetric"], listed)
    done = model
    for use in ("tidy", "fold_batchnorm", "quantize_static", "float16"):
        done, _ = apply(registry.find("passes", use)(), use, done, context)
    got = graphs.run(done, listed, Options(exact=True))
    for output in want[0]:
        assert graphs.sqnr(want, got, output) > 25  # as quantized alone, see test_pass_laws
    for each in done.graph:
        if each.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            scale = constant(each.inputs[1])
            assert scale is not None
            assert scale.dtype == np.float32, "a bias scale of 1e-6 is subnormal in float16"


def test_a_transformer_for_tensorrt_mixes_both() -> None:
    model = zoo.transformer()
    listed = graphs.samples(model)
    context = graphs.context(graphs.SCHEMES["s8s8-symmetric"], listed)
    for use in ("quantize_static", "float16"):
        model, _ = apply(registry.find("passes", use)(), use, model, context)
    table = precisions(model)
    assert table["Softmax"] == {"float16": 1}
    # what mixes the values ends in a pair, which would cast
    assert table["MatMul"] == {"float16": 1, "float32": 1, "int8": 6}
