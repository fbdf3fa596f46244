"""Thinning: what leaves is what was there, and everything has its turn."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgepack.base.errors import DataError
from edgepack.calibration.collect import collect
from edgepack.calibration.draft import Draft
from edgepack.calibration.layout import in_blocks
from edgepack.calibration.thinning import PHASE, WHOLE, Thinning, cell, picker, stride
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.machine import arch
from edgepack.runtime.session import Options, Session
from tests import graphs
from tests.models import weight

node = helper.make_node
Values = npt.NDArray[np.float32]

channels = st.integers(1, 40)


def copied(shape: list[int | str]) -> ir.Model:
    """Return a model whose ``c`` is its ``x``, copied by a convolution that runs in blocks."""
    wide = int(shape[1])
    ones = np.ones((wide, 1, *[1] * (len(shape) - 2)), np.float32)
    copy = node("Conv", ["x", "w"], ["c"], group=wide)
    return graphs.network([copy, node("Relu", ["c"], ["y"])], {"w": ones}, shape=shape)


def thinned(
    model: ir.Model, tensor: str, array: Values, phase: int = 0, options: Options | None = None
) -> Values:
    """Return the values of ``tensor`` that leave the runtime."""
    model = private_copy(model)
    made = {str(out.name): out for each in model.graph for out in each.outputs}
    thinning = Thinning(Draft(model), in_blocks(model.graph))
    name = thinning.values(made[tensor], "values")
    fed = {"x": array, **({PHASE: np.array([phase])} if thinning.phased else {})}
    return Session(to_bytes(model), options).run(fed, [name])[name].astype(np.float32)


def numbered(*shape: int) -> Values:
    """Return an array in which no value stands twice; float32 holds each."""
    return np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape).astype(np.float32)


def offsets(wide: int, kernel: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the row and column of the 1 of each channel."""
    _, _, rows, columns = picker(wide, kernel).nonzero()
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


@given(channels, st.integers(1, 12), st.integers(1, 12))
def test_each_channel_picks_one_place_and_together_they_pick_all(
    wide: int, rows: int, columns: int
) -> None:
    assert (picker(wide, (rows, columns)).sum(axis=(1, 2, 3)) == 1).all()
    assert len(offsets(wide, (rows, columns))) == wide
    assert len(set(offsets(rows * columns, (rows, columns)))) == rows * columns
    few = offsets(max(rows, columns), (rows, columns))
    assert {row for row, _ in few} == set(range(rows))
    assert {column for _, column in few} == set(range(columns))


@given(channels, st.integers(1, 300), st.integers(1, 300))
def test_cells_take_no_more_than_the_stride_would_leave_out(wide: int, high: int, far: int) -> None:
    rows, columns = cell(wide, high, far)
    assert rows * columns <= stride(wide * high * far)
    assert rows <= high
    assert columns <= far


@given(st.integers(5, 10).map(lambda n: 4 * n), st.integers(30, 60), st.integers(30, 60))
@settings(max_examples=30, deadline=None)
def test_what_is_picked_are_values_of_the_tensor_and_none_twice(
    wide: int, high: int, far: int
) -> None:
    array = numbered(1, wide, high, far)
    found = thinned(copied([1, wide, high, far]), "c", array, phase=7)
    assert np.isin(found, array).all()
    assert len(np.unique(found)) == len(found)
    assert WHOLE // 5 < len(found) <= WHOLE


@pytest.mark.parametrize(
    "shape", [[1, 16, 56, 56], [1, 32, 37, 53], [1, 96, 61, 14], ["n", 64, 28, 33]]
)
def test_every_row_column_and_channel_has_its_turn(shape: list[int | str]) -> None:
    array = numbered(1, *(int(side) for side in shape[1:]))
    model = copied(shape)
    found = np.concatenate([thinned(model, "c", array, phase) for phase in range(40)])
    places = np.argsort(array.reshape(-1))[found.astype(np.int64)]
    for axis, met in enumerate(np.unravel_index(places, array.shape)):
        assert set(met.tolist()) == set(range(array.shape[axis]))


@pytest.mark.parametrize("shape", [[1, 64, 1000], [1, 8, 20, 20, 20], [1, 6, 80, 80]])
def test_other_tensors_are_taken_every_kth(shape: list[int | str]) -> None:
    array = numbered(*(int(side) for side in shape))
    step = stride(array.size)
    found = thinned(copied(shape), "c", array, phase=step + 2)
    np.testing.assert_array_equal(found, array.reshape(-1)[2::step])


@pytest.mark.skipif(arch() != "x86_64", reason="elsewhere the runtime has no blocks of channels")
def test_only_what_was_picked_leaves_the_blocks(tmp_path: Path) -> None:
    model = copied([1, 16, 64, 64])
    options = Options(save_optimized=tmp_path / "optimized.onnx")
    thinned(model, "c", numbered(1, 16, 64, 64), options=options)
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert [each.domain for each in nodes if each.op_type == "Conv"] == ["com.microsoft.nchwc"] * 2
    moved = [each.output[0] for each in nodes if each.op_type == "ReorderOutput"]
    assert len(moved) == 2
    assert "y" in moved


def test_small_tensors_are_taken_whole() -> None:
    array = numbered(1, 16, 32, 32)
    found = thinned(copied([1, 16, 32, 32]), "c", array)
    np.testing.assert_array_equal(found, array.reshape(-1))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_beside_what_is_not_finite_the_right_tensor_is_named(bad: float) -> None:
    model = copied([1, 16, 64, 64])
    good, wrong = numbered(1, 16, 64, 64), numbered(1, 16, 64, 64)
    wrong[0, 5, 7, 9] = bad
    items = [Item(({"x": array},), (), at) for at, array in enumerate((good, wrong))]
    with pytest.raises(DataError, match="tensor 'c' is not finite on calibration sample"):
        collect(model, ["c", "y"], items, signature(model))


def squeezed() -> ir.Model:
    """Return a model with what leaves the blocks of channels, and what does not."""
    nodes = [
        node("Conv", ["x", "first"], ["c"], pads=[1] * 4),
        node("Sigmoid", ["c"], ["gate"]),
        node("Mul", ["c", "gate"], ["swish"]),
        node("Conv", ["swish", "few"], ["narrow"]),
        node("Conv", ["swish", "split"], ["cardinal"], group=4),
        node("Add", ["swish", "c"], ["sum"]),
        node("Concat", ["sum", "swish"], ["both"], axis=1),
        node("GlobalAveragePool", ["sum"], ["pooled"]),
        node("Mul", ["sum", "pooled"], ["excited"]),
        node("Add", ["sum", "shift"], ["shifted"]),
        node("Exp", ["both"], ["e"]),
        node("MaxPool", ["both"], ["y"], kernel_shape=[2, 2]),
    ]
    arrays = {"first": weight(16, 3, 3, 3), "few": weight(5, 16, 1, 1), "shift": weight(1)}
    return graphs.network(nodes, arrays | {"split": weight(16, 4, 1, 1)}, shape=[1, 3, 8, 8])


def test_blocks_reach_as_far_as_the_runtime_keeps_them() -> None:
    reached = in_blocks(squeezed().graph)
    assert reached == {"c", "gate", "swish", "narrow", "sum", "both", "y"}
