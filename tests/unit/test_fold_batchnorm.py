from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgepack.graph.constants import constant
from edgepack.passes import PassReport, apply
from edgepack.passes.fold_batchnorm import FoldBatchnorm
from tests import graphs, zoo
from tests.models import Array, proto, value, weight

node = helper.make_node


def fold(model: ir.Model) -> tuple[ir.Model, PassReport]:
    return apply(FoldBatchnorm(), "fold_batchnorm", model, graphs.context(None, []))


def vector(*values: float) -> Array:
    return np.array(values, np.float32)


NORM: dict[str, Array] = {
    "gamma": vector(2, 1),
    "beta": vector(0.5, 0),
    "mean": vector(1, -1),
    "var": vector(3, 0),
}


def bn(source: str, out: str, **more: Any) -> onnx.NodeProto:
    names = [source, "gamma", "beta", "mean", "var"]
    return node("BatchNormalization", names, [out], name="bn", epsilon=1.0, **more)


def same(model: ir.Model) -> bool:
    """Whether folding keeps the outputs; 1e-6 of the largest is float rounding."""
    listed = graphs.samples(model)
    want, got = graphs.run(model, listed), graphs.run(fold(model)[0], listed)
    return all(graphs.sqnr(want, got, name) > 120 for name in want[0])


def test_the_numbers_of_a_folded_convolution_worked_by_hand() -> None:
    model = graphs.network(
        [node("Conv", ["x", "w", "b"], ["c"], name="conv"), bn("c", "y")],
        {"w": np.array([[[[3]]], [[[4]]]], np.float32), "b": vector(2, 5), **NORM},
        shape=[1, 1, 2, 2],
        outputs={"y": [1, 2, 2, 2]},
    )
    done, report = fold(model)
    (conv,) = done.graph
    parts = [constant(each) for each in conv.inputs[1:]]
    # factors 2 / sqrt(3 + 1) and 1 / sqrt(0 + 1); biases (2 - 1) * 1 + 0.5 and (5 + 1) * 1
    assert [part.ravel().tolist() for part in parts if part is not None] == [[3, 4], [1.5, 6]]
    assert [(edit.where, edit.what) for edit in report.edits] == [("conv", "took over bn")]
    assert conv.outputs[0].name == "y"


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, weight(2), weight(1, 2), weight(1), weight(3, 1)])
def test_a_gemm_takes_its_norm_over_whatever_its_bias(transposed: int, bias: Array | None) -> None:
    matrix = weight(4, 2)
    model = graphs.network(
        [
            node(
                "Gemm",
                ["x", "w", "b"] if bias is not None else ["x", "w"],
                ["g"],
                name="gemm",
                transB=transposed,
            ),
            bn("g", "y"),
        ],
        {
            "w": matrix.T.copy() if transposed else matrix,
            **({} if bias is None else {"b": bias}),
            **NORM,
        },
        shape=[3, 4],
    )
    assert [each.op_type for each in fold(model)[0].graph] == ["Gemm"]
    assert same(model)


@pytest.mark.parametrize("name", ["residual", "lite", "conv_end"])
def test_outputs_are_kept(name: str) -> None:
    model = zoo.ZOO[name]()
    assert "BatchNormalization" not in graphs.operators(fold(model)[0])
    assert same(model)


def test_two_norms_in_a_row_fold_into_one_convolution() -> None:
    model = graphs.network(
        [node("Conv", ["x", "w"], ["c"], name="conv"), bn("c", "n"), bn("n", "y")],
        {"w": weight(2, 3, 3, 3), **NORM},
    )
    assert graphs.operators(fold(model)[0]) == ["Conv"]
    assert same(model)


def test_a_shared_weight_is_folded_for_one_reader_and_kept_for_the_other() -> None:
    model = graphs.network(
        [
            node("Conv", ["x", "w"], ["c"], name="conv1"),
            bn("c", "n"),
            node("Conv", ["x", "w"], ["d"], name="conv2"),
            node("Add", ["n", "d"], ["y"], name="add"),
        ],
        {"w": weight(2, 3, 3, 3), **NORM},
    )
    done, _ = fold(model)
    assert set(done.graph.initializers) == {"w", "conv1.folded_weight", "conv1.folded_bias"}
    assert same(model)


def convolution(*after: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> ir.Model:
    return graphs.network(
        [node("Conv", ["x", "w"], ["c"], name="conv"), *after],
        {"w": weight(2, 3, 3, 3), **NORM},
        outputs=outputs,
    )


@pytest.mark.parametrize(
    "model",
    [
        convolution(bn("c", "n"), node("Add", ["n", "c"], ["y"])),
        convolution(bn("c", "y"), outputs=("y", "c")),
        convolution(node("Relu", ["c"], ["r"]), bn("r", "y")),
        convolution(node("Exp", ["gamma"], ["g"]), node(
            "BatchNormalization", ["c", "g", "beta", "mean", "var"], ["y"])),
        convolution(bn("c", "y", training_mode=1)),
        graphs.network(
            [node("Gemm", ["x", "w"], ["c"], alpha=2.0), bn("c", "y")],
            {"w": weight(4, 2), **NORM},
            shape=["batch", 4],
        ),
    ],
    ids=["read twice", "an output", "a clamp between", "computed", "training", "scaled"],
)  # fmt: skip
def test_a_norm_that_cannot_be_taken_over_stays(model: ir.Model) -> None:
    done, report = fold(model)
    assert "BatchNormalization" in graphs.operators(done)
    assert report.edits == ()


def test_a_float16_model_stays_a_float16_model() -> None:
    names = [node("Conv", ["x", "w"], ["c"], name="conv"), bn("c", "y")]
    arrays = {"w": weight(2, 3, 1, 1), **NORM}
    half: dict[str, Array] = {name: array.astype(np.float16) for name, array in arrays.items()}
    model = graphs.read(
        proto(
            names,
            half,
            inputs=[value("x", [1, 3, 4, 4], TensorProto.FLOAT16)],
            outputs=[value("y", None, TensorProto.FLOAT16)],
        )
    )
    done, _ = fold(model)
    assert {v.dtype for v in done.graph.initializers.values()} == {ir.DataType.FLOAT16}
    want, got = (graphs.run(each, graphs.samples(model)) for each in (model, done))
    assert graphs.sqnr(want, got, "y") > 55  # 11 bits


def test_a_folded_weight_holds_no_subnormal_number() -> None:
    tiny = {**NORM, "gamma": vector(1e-38, 1)}
    model = graphs.network(
        [node("Conv", ["x", "w"], ["c"], name="conv"), bn("c", "y")],
        {"w": weight(2, 3, 3, 3) / 4, **tiny},
    )
    folded = fold(model)[0].graph.initializers["conv.folded_weight"].const_value
    assert folded is not None
    array = np.abs(folded.numpy())
    assert array[0].max() == 0
    assert array[1].min() > 0


def test_a_shape_that_only_the_norm_knew_is_kept() -> None:
    model = ir.from_proto(
        proto(
            [node("Conv", ["x", "w"], ["c"], name="conv"), bn("c", "y")],
            {"w": weight(2, 3, 3, 3), **NORM},
            inputs=[value("x", ["batch", 3, 8, 8])],
            outputs=[value("y", ["batch", 2, 6, 6])],
        )
    )
    assert fold(model)[0].graph.outputs[0].shape == model.graph.outputs[0].shape
