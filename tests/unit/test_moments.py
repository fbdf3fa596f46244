"""Second moments against runs of the node itself, and that their order is that of the samples."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.base.errors import DataError
from edgepack.calibration import moments
from edgepack.calibration.moments import ROWS, mean_squares, second_moments, too_wide
from edgepack.calibration.operands import reading, rows, why_not_rows
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.constants import constant
from tests import graphs
from tests.models import Array, weight

node = helper.make_node


def drawn(*shape: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def items(*arrays: Array) -> list[Item]:
    return [Item(({"x": array},), (), index) for index, array in enumerate(arrays)]


def convolution(w: Array, shape: list[int | str], **attributes: Any) -> ir.Model:
    made = node("Conv", ["x", "w"], ["y"], name="it", **attributes)
    return graphs.network([made], {"w": w}, shape=shape)


@pytest.mark.parametrize(
    ("w", "x", "attributes"),
    [
        (weight(4, 3, 3, 3), (2, 3, 7, 6), {"pads": [1, 0, 1, 2], "strides": [2, 1]}),
        (weight(6, 2, 3), (1, 4, 9), {"group": 2, "dilations": [2]}),
        (weight(5, 1, 3, 3), (1, 5, 6, 6), {"group": 5, "pads": [1, 1, 1, 1]}),
        (weight(4, 3, 1, 1), (2, 3, 5, 5), {}),
    ],
)
def test_weight_times_row_is_what_the_convolution_gives(
    w: Array, x: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    model = convolution(w, list(x), **attributes)
    [it], sample = list(model.graph), drawn(*x)
    assert why_not_rows(it) == ""
    taken = rows(sample, reading(it), 10**6, 0)  # (groups, rows, K)
    parts = w.astype(np.float32).reshape(len(taken), -1, taken.shape[2])
    got = (taken @ parts.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(taken.shape[1], -1)
    [want] = graphs.run(model, [{"x": sample}])
    flat = np.moveaxis(want["y"].astype(np.float32), 1, -1).reshape(-1, len(w))
    np.testing.assert_allclose(got, flat, rtol=1e-4, atol=1e-5)  # float32 sums of 27 at most


def test_moments_of_a_matrix_are_the_sum_over_samples_of_any_length() -> None:
    model = graphs.network(
        [node("MatMul", ["x", "w"], ["y"], name="it")], {"w": weight(5, 4)}, shape=["n", "t", 5]
    )
    listed = [drawn(1, length, 5, seed=length) for length in (1, 7, ROWS)]
    [seen] = second_moments(model, ["it"], items(*listed), signature(model)).values()
    every = np.concatenate([each[0] for each in listed]).astype(np.float64)
    assert seen.rows == len(every)
    np.testing.assert_allclose(seen.total[0], every.T @ every, rtol=1e-5, atol=1e-5)


def test_of_many_rows_a_fixed_number_is_taken_and_the_same_ones_again() -> None:
    model = convolution(weight(4, 3, 3, 3), [1, 3, 40, 40])
    listed = items(drawn(1, 3, 40, 40), drawn(1, 3, 40, 40, seed=1))
    one, two = (second_moments(model, ["it"], listed, signature(model))["it"] for _ in range(2))
    assert ROWS < one.rows <= 2 * ROWS
    np.testing.assert_array_equal(one.total, two.total)


def test_mean_squares_are_the_diagonal_of_the_moments() -> None:
    model = convolution(weight(4, 2, 3, 3), [1, 4, 9, 9], group=2)
    listed = items(drawn(1, 4, 9, 9), drawn(1, 4, 9, 9, seed=1))
    whole = second_moments(model, ["it"], listed, signature(model))["it"]
    found = mean_squares(model, ["it"], listed, signature(model))["it"]
    want = np.diagonal(whole.total, axis1=1, axis2=2) / whole.rows
    np.testing.assert_allclose(found, want, rtol=1e-5)  # float32 sums of at most 64


def test_nodes_that_read_one_tensor_share_its_moments() -> None:
    made = [node("MatMul", ["x", w], [y], name=y) for w, y in (("v", "a"), ("w", "b"))]
    model = graphs.network(
        [*made, node("Add", ["a", "b"], ["y"], name="sum")],
        {"v": weight(5, 4), "w": weight(5, 4, seed=1)},
        shape=[3, 5],
    )
    found = second_moments(model, ["a", "b"], items(drawn(3, 5)), signature(model))
    assert found["a"] is found["b"]


def test_an_input_too_wide_for_its_memory_is_left_out_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [
        node("Gemm", ["x", "w"], ["h"], name="wide", transB=1),
        node("MatMul", ["h", "v"], ["y"], name="narrow"),
    ]
    model = graphs.network(made, {"w": weight(4, 6), "v": weight(4, 3)}, shape=[3, 6])
    monkeypatch.setattr(moments, "WIDEST", 5)
    found = second_moments(model, ["wide", "narrow"], items(drawn(3, 6)), signature(model))
    assert list(found) == ["narrow"]
    reasons = [too_wide(each) for each in model.graph]
    assert reasons == ["its 6 inputs are too many for GPTQ", ""]


def test_data_that_are_empty_or_not_finite_are_refused() -> None:
    model = convolution(weight(4, 3, 1, 1), [1, 3, 2, 2])
    for listed in ([], items(np.full((1, 3, 2, 2), np.inf, np.float32))):
        with pytest.raises(DataError):
            second_moments(model, ["it"], listed, signature(model))


def test_padding_that_is_not_spelled_out_is_a_reason() -> None:
    [it] = list(convolution(weight(4, 3, 3, 3), [1, 3, 8, 8], auto_pad="SAME_UPPER").graph)
    assert constant(it.inputs[1]) is not None
    assert why_not_rows(it)
