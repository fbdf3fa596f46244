import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgepack.graph.constants import constant
from edgepack.passes import PassReport, apply
from edgepack.passes.tidy import Tidy
from tests import convolutions, graphs, zoo
from tests.models import Array, proto, value, weight

node = helper.make_node


def tidied(model: ir.Model) -> tuple[ir.Model, PassReport]:
    return apply(Tidy(), "tidy", model, graphs.context(None, []))


def same(model: ir.Model) -> bool:
    """Whether outputs are kept; a mean and a pool add in another order, 120 dB is rounding."""
    listed = graphs.samples(model)
    want, got = graphs.run(model, listed), graphs.run(tidied(model)[0], listed)
    return all(graphs.sqnr(want, got, name) > 120 for name in want[0])


def told(report: PassReport) -> list[str]:
    return [edit.what for edit in report.edits]


def test_the_weight_of_a_recurrent_layer_becomes_a_constant_whatever_its_size() -> None:
    model = zoo.lstm()
    done, report = tidied(model)
    assert graphs.operators(done) == ["LSTM", "Squeeze", "MatMul"]
    layer = done.graph[0]
    assert all(constant(each) is not None for each in layer.inputs[1:])
    assert "wi" not in done.graph.initializers, "the weight would ship twice"
    assert told(report) == ["3 nodes folded or removed"]
    assert same(model)


def test_a_large_embedding_that_is_tied_to_the_head_is_not_copied() -> None:
    table = weight(600, 32)
    model = graphs.read(
        proto(
            [
                node("Gather", ["table", "x"], ["e"], name="embedding"),
                node("Transpose", ["table"], ["t"], name="transpose", perm=[1, 0]),
                node("MatMul", ["e", "t"], ["y"], name="head"),
            ],
            {"table": table},
            inputs=[value("x", [1, 5], TensorProto.INT64)],
        )
    )
    done, _ = tidied(model)
    assert sum(v.const_value.nbytes for v in done.graph.initializers.values() if v.const_value) == (
        table.nbytes
    )


def test_identities_dropouts_and_unread_parts_go() -> None:
    model = graphs.network(
        [
            node("Identity", ["x"], ["i"], name="identity"),
            node("Relu", ["i"], ["r"], name="relu"),
            node("Sigmoid", ["i"], ["unread"], name="unread"),
            node("Identity", ["r"], ["y"], name="last"),
        ],
        {"spare": weight(5)},
        shape=["batch", 4],
    )
    done, report = tidied(model)
    assert graphs.operators(done) == ["Relu"]
    assert told(report) == ["3 nodes folded or removed"]
    assert same(model)


def test_an_output_that_is_a_constant_survives() -> None:
    model = graphs.network(
        [
            node("Add", ["a", "b"], ["y"], name="add"),
            node("Relu", ["x"], ["z"], name="relu"),
        ],
        {"a": weight(3), "b": weight(3)},
        shape=["batch", 4],
        outputs={"y": [3], "z": ["batch", 4]},
    )
    assert same(model)


def test_an_output_that_is_the_input_survives() -> None:
    model = graphs.network(
        [node("Identity", ["x"], ["y"], name="same")], {}, shape=["batch", 4], outputs={"y": None}
    )
    assert same(model)


def test_one_value_under_two_output_names_keeps_both() -> None:
    model = graphs.network(
        [
            node("Relu", ["x"], ["y"], name="relu"),
            node("Identity", ["y"], ["z"], name="again"),
            node("Identity", ["z"], ["u"], name="inner"),
            node("Sigmoid", ["u"], ["s"], name="sigmoid"),
        ],
        {},
        shape=["batch", 4],
        outputs=["y", "z", "s"],
    )
    assert graphs.operators(tidied(model)[0]) == ["Relu", "Identity", "Sigmoid"]
    assert same(model)


def test_a_scan_keeps_both_outputs_of_a_body_that_gives_one_value_twice() -> None:
    body = helper.make_graph(
        [
            node("Add", ["state", "row"], ["next"], name="add"),
            node("Identity", ["next"], ["seen"], name="seen"),
        ],
        "body",
        [value("state", [4]), value("row", [4])],
        [value("next", [4]), value("seen", [4])],
    )
    model = graphs.network(
        [node("Scan", ["start", "x"], ["last", "y"], name="scan", num_scan_inputs=1, body=body)],
        {"start": weight(4)},
        shape=[3, 4],
        outputs=["y", "last"],
    )
    assert same(model)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_height_and_width_is_a_pool(keepdims: int) -> None:
    model = convolutions.spatial_mean(keepdims=keepdims)
    done, report = tidied(model)
    assert "ReduceMean" not in graphs.operators(done)
    assert graphs.operators(done).count("GlobalAveragePool") == 1
    assert told(report) == ["a mean over height and width is GlobalAveragePool"]
    assert same(model)


def mean(axes: list[int] | None, shape: list[int], kind: int = TensorProto.FLOAT) -> ir.Model:
    inputs = ["x"] if axes is None else ["x", "axes"]
    return graphs.read(
        proto(
            [node("ReduceMean", inputs, ["y"], name="mean", keepdims=0)],
            {} if axes is None else {"axes": np.array(axes, np.int64)},
            inputs=[value("x", shape, kind)],
            outputs=[value("y", None, kind)],
        )
    )


@pytest.mark.parametrize(
    "model",
    [
        mean([1, 2], [2, 3, 4, 4]),
        mean([2], [2, 3, 4, 4]),
        mean([1, 2, 3], [2, 3, 4, 4]),
        mean(None, [2, 3, 4, 4]),
        mean([1, 2], [2, 3, 4]),
        mean([2, 3], [2, 3, 4, 4], TensorProto.DOUBLE),
        mean([2, 3], [2, 3, 4, 4], TensorProto.INT32),
    ],
    ids=["over channels", "width only", "all but the batch", "all", "rank 3", "double", "integer"],
)
def test_any_other_mean_stays(model: ir.Model) -> None:
    done, _ = tidied(model)
    assert graphs.operators(done) == ["ReduceMean"]
    assert same(model)


def test_zero_padding_moves_into_the_convolution() -> None:
    model = convolutions.pad_conv()
    done, report = tidied(model)
    assert graphs.operators(done) == ["Conv", "Relu", "Conv"]
    assert done.graph[0].attributes["pads"].as_ints() == (1, 3, 4, 0)
    assert told(report)[0] == "took over the zero padding of pad"
    assert same(model)


def padded(amounts: list[int], *more: str, **options: str) -> ir.Model:
    extra: dict[str, Array] = {"one": np.array(1, np.float32), "axes": np.array([2, 3], np.int64)}
    conv = {"auto_pad": options.pop("auto_pad")} if "auto_pad" in options else {}
    return graphs.network(
        [
            node("Pad", ["x", "amounts", *more], ["p"], name="pad", **options),
            node("Conv", ["p", "w"], ["y"], name="conv", **conv),
        ],
        {"amounts": np.array(amounts, np.int64), "w": weight(4, 3, 3, 3), **extra},
    )


@pytest.mark.parametrize(
    "model",
    [
        padded([0, 0, 1, 1, 0, 0, 1, 1], "one"),
        padded([0, 0, -1, 0, 0, 0, 0, 0]),
        padded([1, 0, 1, 1, 0, 0, 1, 1]),
        padded([0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
        padded([1, 1, 1, 1], "", "axes"),
        padded([0, 0, 1, 1, 0, 0, 1, 1], auto_pad="SAME_UPPER"),
    ],
    ids=["ones", "negative", "batch", "reflect", "axes", "auto_pad"],
)
def test_any_other_padding_stays(model: ir.Model) -> None:
    assert graphs.operators(tidied(model)[0]) == ["Pad", "Conv"]
    assert same(model)


def test_padding_that_two_read_stays() -> None:
    model = graphs.network(
        [
            node("Pad", ["x", "amounts"], ["p"], name="pad"),
            node("Conv", ["p", "w"], ["c"], name="conv"),
            node("ReduceMax", ["p"], ["m"], name="max", keepdims=0),
            node("Add", ["c", "m"], ["y"], name="add"),
        ],
        {"amounts": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "w": weight(4, 3, 3, 3)},
    )
    assert "Pad" in graphs.operators(tidied(model)[0])


def test_a_product_and_the_vector_added_to_it_are_a_gemm() -> None:
    model = zoo.products()
    done, report = tidied(model)
    assert graphs.operators(done) == ["Gemm", "Relu", "Gemm"]
    assert [each.name for each in done.graph] == ["matmul1", "relu", "matmul2"]
    assert told(report)[0] == "took over the vector that add1 added"
    assert same(model)


def added(
    bias: Array,
    *more: onnx.NodeProto,
    shape: tuple[int, ...] = (4, 4),
    outputs: tuple[str, ...] = ("y",),
) -> ir.Model:
    return graphs.network(
        [
            node("MatMul", ["x", "w"], ["m"], name="matmul"),
            node("Add", ["m", "b"], ["y"], name="add"),
            *more,
        ],
        {"w": weight(4, 4), "b": bias},
        shape=shape,
        outputs=outputs,
    )


@pytest.mark.parametrize(
    "model",
    [
        added(weight(4, 1)),
        added(weight(4, 4)),
        added(weight(1)),
        added(weight(2, 1, 4)),
        added(weight(4), shape=(2, 3, 4)),
        added(weight(4), outputs=("y", "m")),
        added(weight(4), node("Neg", ["m"], ["z"]), outputs=("y", "z")),
    ],
    ids=["column", "matrix", "one number", "more axes", "rank 3", "an output", "read twice"],
)
def test_any_other_sum_stays(model: ir.Model) -> None:
    assert "Gemm" not in graphs.operators(tidied(model)[0])
    assert same(model)


def test_equal_weights_are_kept_once() -> None:
    model = graphs.network(
        [
            node("Conv", ["x", "w1"], ["a"], name="conv1"),
            node("Conv", ["x", "w2"], ["b"], name="conv2"),
            node("Mul", ["a", "b"], ["y"], name="mul"),
        ],
        {"w1": weight(4, 3, 3, 3), "w2": weight(4, 3, 3, 3)},
    )
    assert len(tidied(model)[0].graph.initializers) == 1
    assert same(model)


def test_a_weight_that_is_an_output_is_left_alone_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = graphs.network(
        [node("Add", ["x", "w"], ["y"])],
        {"w": weight(12)},
        outputs={"y": None, "w": [12]},
    )
    tidied(model)
    assert not caplog.records
