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
        (
            chain([node("Clip", ["c", "low"], ["d"], name="between")], low=0.5),
            "between clips zero to something else",
        ),
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
