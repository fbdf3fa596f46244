"""GPTQ against its definition: each row's error is made up for by the best of what is left."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgepack.calibration import moments
from edgepack.calibration.moments import Moments
from edgepack.passes import Context, apply
from edgepack.passes.quantize_weights import QuantizeWeights
from edgepack.quantization.blocks import quantize_blocks, round_blocks
from edgepack.quantization.gptq import DAMPING, output_error, round_rows
from tests import graphs, zoo
from tests.unit.test_blocks import decoded

Real = npt.NDArray[np.float64]


def correlated(rows: int, k: int, seed: int = 0) -> Real:
    """Return inputs whose columns tell of each other, as those of real layers do."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, k // 4)) @ rng.standard_normal((k // 4, k)) + 0.1 * (
        rng.standard_normal((rows, k))
    )


def whole_numbers(_: Real) -> Callable[[int, Real], Real]:
    return lambda _, row: np.rint(row)


def test_each_error_is_made_up_for_as_least_squares_would() -> None:
    x = correlated(200, 12)
    moments, weight = x.T @ x, np.random.default_rng(1).normal(0, 3, (12, 5))
    damped = moments + DAMPING * np.diag(moments).mean() * np.eye(12)
    left, want = weight.copy(), np.empty_like(weight)
    for k in range(12):
        want[k] = np.rint(left[k])
        # the rest that minimizes (w - q)' H (w - q) once row k is fixed
        wrong = want[k] - left[k]
        rest = slice(k + 1, None)
        left[rest] -= np.linalg.solve(damped[rest, rest], damped[rest, k : k + 1]) @ wrong[None]
    np.testing.assert_array_equal(round_rows(weight, moments, 4, whole_numbers), want)


def test_inputs_that_are_independent_leave_rounding_to_nearest() -> None:
    weight = np.random.default_rng(0).normal(0, 3, (40, 3))
    np.testing.assert_array_equal(
        round_rows(weight, np.diag(np.arange(1.0, 41.0)), 16, whole_numbers), np.rint(weight)
    )


def test_errors_travel_past_the_rows_that_are_rounded_together() -> None:
    x = correlated(2000, 300)
    moments, weight = x.T @ x, np.random.default_rng(0).normal(0, 1, (300, 2))
    found = round_rows(weight, moments, 16, whole_numbers)
    nearest = output_error(weight, np.rint(weight), moments)
    assert output_error(weight, found, moments) < 0.5 * nearest


def test_products_on_other_inputs_err_less_than_with_nearest_rounding() -> None:
    x, other = np.split(correlated(1500, 128), [1000])
    weight = np.random.default_rng(2).normal(0, 1, (128, 16)).astype(np.float32)
    plain, better = quantize_blocks(weight, 32), round_blocks(weight, 32, x.T @ x)
    errors = [
        output_error(weight.astype(float), decoded(each, 128), other.T @ other)
        for each in (plain, better)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_dead_inputs_and_a_short_last_block_are_taken() -> None:
    x = correlated(100, 40)
    x[:, 7] = 0
    weight = np.random.default_rng(3).normal(0, 1, (40, 3)).astype(np.float32)
    found = round_blocks(weight, 16, x.T @ x)
    assert np.isfinite(found.scale).all()
    assert np.abs(decoded(found, 40) - weight).max() < 1.5
    silent = round_blocks(weight, 16, np.zeros((40, 40)))
    assert np.isfinite(decoded(silent, 40)).all()


def test_the_step_says_which_rounding_it_used_and_why_not_gptq() -> None:
    model = zoo.ZOO["linear"]()
    listed = graphs.samples(model)
    with_data = graphs.context(None, listed)
    told = {}
    for name, ctx, rounding in (
        ("data", with_data, "gptq"),
        ("asked", with_data, "nearest"),
        ("none", Context(graphs.target(None)), "gptq"),
    ):
        step = QuantizeWeights(bits=4, min_size=1, rounding=rounding)  # type: ignore[arg-type]
        edits = apply(step, "quantize_weights", model, ctx)[1].edits
        told[name] = next(edit.what for edit in edits if "4 bits" in edit.what)
    assert told["data"].endswith("by GPTQ")
    assert told["asked"].endswith("to nearest")
    assert told["none"].endswith("to nearest for want of calibration data")


def test_a_matrix_too_wide_for_gptq_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.ZOO["linear"]()
    monkeypatch.setattr(moments, "WIDEST", 3)
    context = graphs.context(None, graphs.samples(model))
    edits = apply(QuantizeWeights(bits=4, min_size=1), "step", model, context)[1].edits
    [told] = {edit.what.partition("to nearest: ")[2] for edit in edits if "4 bits" in edit.what}
    assert told.endswith("inputs are too many for GPTQ")


def test_moments_are_of_one_group_for_a_matrix() -> None:
    model = zoo.ZOO["linear"]()
    ctx = graphs.context(None, graphs.samples(model))
    assert ctx.second is not None
    [name] = [str(n.name) for n in model.graph if n.op_type in {"MatMul", "Gemm"}][:1]
    found: Moments = ctx.second(model, (name,))[name]
    assert found.total.shape[0] == 1
