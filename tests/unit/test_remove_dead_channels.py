"""Dead channels: gone where they are provably zero, left with a reason elsewhere."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.passes import PassReport, apply
from edgepack.passes.remove_dead_channels import RemoveDeadChannels
from tests import graphs
from tests.models import weight
from tests.zoo import dead

node = helper.make_node
RELU = [node("Relu", ["c"], ["d"], name="between")]


def chain(
    between: Sequence[onnx.NodeProto] = RELU, *, bias: float = 0, group: int = 1, low: float = 0
) -> ir.Model:
    """Return two padded Convs; channels 1 and 4 of six have no weights, and ``bias``."""
    first, added = weight(6, 3, 3, 3), weight(6, seed=1)
    first[[1, 4]], added[[1, 4]] = 0, bias
    second = node("Conv", ["d", "w2"], ["y"], pads=[1, 1, 1, 1], group=group, name="second")
    return graphs.network(
        [node("Conv", ["x", "w1", "b1"], ["c"], name="first"), *between, second],
        {
            "w1": first,
            "b1": added,
            "w2": weight(6, 6 // group, 3, 3, seed=2),
            "low": np.array(low, np.float32),
        },
    )


def removed(model: ir.Model) -> tuple[ir.Model, PassReport]:
    step = RemoveDeadChannels()
    return apply(step, "remove_dead_channels", model, graphs.context(None, []))


def shapes(model: ir.Model) -> set[tuple[int, ...]]:
    stored = (value.const_value for value in model.graph.initializers.values())
    return {tensor.numpy().shape for tensor in stored if tensor is not None}


@pytest.mark.parametrize(
    "between",
    [
        RELU,
        [node("Clip", ["c", "low"], ["d"], name="between")],
        [node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], name="between")],
    ],
)
def test_two_of_six_channels_go_and_outputs_stay(between: list[onnx.NodeProto]) -> None:
    model = chain(between)
    after, report = removed(model)
    assert [edit.what for edit in report.edits] == [
        "2 of 6 channels were zero: removed here and in second"
    ]
    assert shapes(after) >= {(4, 3, 3, 3), (4,), (6, 4, 3, 3)}
    listed = graphs.samples(model)
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(after, listed), "y") > 120


def test_a_constant_channel_that_is_not_zero_stays_for_the_padded_border() -> None:
    assert removed(chain(bias=0.5))[1].edits == ()


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (chain(group=2), "second works in groups"),
        (chain([node("Softmax", ["c"], ["d"], name="soft")]), "soft (Softmax) is not followed"),
    ],
)
def test_where_it_cannot_be_proved_channels_stay_with_a_reason(model: ir.Model, why: str) -> None:
    (edit,) = removed(model)[1].edits
    assert edit.left
    assert edit.what == f"2 dead channels stay: {why}"


def test_a_flattened_channel_goes_with_all_its_positions() -> None:
    first, added = weight(6, 3, 3, 3), weight(6, seed=1)
    first[2], added[2] = 0, 0
    model = graphs.network(
        [
            node("Conv", ["x", "w1", "b1"], ["c"], name="first"),
            node("GlobalAveragePool", ["c"], ["p"], name="pool"),
            node("Flatten", ["p"], ["f"], name="flat"),
            node("Gemm", ["f", "w2"], ["g"], transB=1, name="second"),
            node("MatMul", ["g", "w3"], ["y"], name="third"),
        ],
        {
            "w1": first,
            "b1": added,
            "w2": np.where(np.arange(5)[:, None] == 3, 0, weight(5, 6, seed=2)),
            "w3": weight(5, 4, seed=3),
        },
    )
    after, report = removed(model)
    assert [edit.where for edit in report.edits] == ["first", "second"]
    assert shapes(after) == {(5, 3, 3, 3), (5,), (4, 5), (4, 4)}
    listed = graphs.samples(model)
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(after, listed), "y") > 120


def test_channels_go_through_residual_adds_depthwise_layers_and_gates() -> None:
    model = dead()
    after, report = removed(model)
    (edit,) = report.edits
    assert edit.where == "first"
    assert edit.what.startswith("2 of 6 channels were zero: removed here and in ")
    assert shapes(after) == {(4, 3, 3, 3), (4, 1, 3, 3), (4,), (4, 4, 1, 1)}
    listed = graphs.samples(model)
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(after, listed), "y") > 120


def test_a_channel_that_one_branch_still_writes_stays_in_both() -> None:
    after, report = removed(dead(one_branch=True))
    assert report.edits[0].what.startswith("1 of 6 channels")
    assert (5, 3, 3, 3) in shapes(after)


def test_a_channel_that_a_depthwise_bias_brings_back_stays() -> None:
    _after, report = removed(dead(bias=0.5))
    assert report.edits[0].what.startswith("1 of 6 channels")


def test_what_reads_only_removed_channels_goes_in_turn() -> None:
    first = weight(4, 3, 1, 1)
    first[2] = 0
    second = weight(5, 4, 1, 1, seed=1)
    second[3] = 0
    second[3, 2] = 1  # reads what is zero, so it is zero too
    model = graphs.network(
        [
            node("Conv", ["x", "w0"], ["a"], name="first"),
            node("Conv", ["a", "w1"], ["b"], name="second"),
            node("Conv", ["b", "w2"], ["y"], name="third"),
        ],
        {"w0": first, "w1": second, "w2": weight(2, 5, 1, 1, seed=2)},
    )
    after, report = removed(model)
    assert [edit.where for edit in report.edits] == ["first", "second"]
    assert shapes(after) == {(3, 3, 1, 1), (4, 3, 1, 1), (2, 4, 1, 1)}
    assert not removed(after)[1].edits


@pytest.mark.parametrize("reshaped", [[0, -1], [2, -1]])
def test_a_reshape_that_does_not_count_channels_is_gone_through(reshaped: list[int]) -> None:
    first = weight(6, 3, 3, 3)
    first[2] = 0
    model = graphs.network(
        [
            node("Conv", ["x", "w1"], ["c"], strides=[6, 6], name="first"),
            node("Reshape", ["c", "shape"], ["f"], name="flat"),
            node("Gemm", ["f", "w2"], ["y"], name="second"),
        ],
        {
            "w1": first,
            "shape": np.array(reshaped, np.int64),
            "w2": weight(6 * 2 * 2, 4, seed=2),
        },
    )
    after, _report = removed(model)
    assert (5, 3, 3, 3) in shapes(after)
    listed = graphs.samples(model)
    assert graphs.sqnr(graphs.run(model, listed), graphs.run(after, listed), "y") > 120
