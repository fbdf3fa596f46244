"""Outlier channels get a float product of their own; smoothing moves range into weights."""

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.graph.constants import constant
from edgepack.passes import PassReport, Step, apply
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.passes.smooth import Smooth
from edgepack.passes.split_outliers import Real, SplitOutliers
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from edgepack.spec.step import Skip
from edgepack.spec.target import load
from tests import graphs
from tests.models import weight

SIZE, LOUD = 64, (5, 40)


def _gain() -> Real:
    gain = np.ones(SIZE, np.float32)
    gain[list(LOUD)] = 50
    return gain


def spoiled(*, read_elsewhere: bool = False) -> ir.Model:
    """A layer norm whose gain makes two channels fifty times louder, and a product after it."""
    end = [graphs.node("Add", ["m", "n"], ["y"], name="add")] if read_elsewhere else []
    return graphs.network(
        [
            graphs.node("LayerNormalization", ["x", "g", "b"], ["n"], name="norm", axis=-1),
            graphs.node("MatMul", ["n", "w"], ["m" if read_elsewhere else "y"], name="matmul"),
            *end,
        ],
        {"g": _gain(), "b": weight(SIZE, seed=2) / 4, "w": weight(SIZE, SIZE, seed=1) / 8},
        shape=["batch", SIZE],
    )


def feeds() -> list[Sample]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((32, SIZE)).astype(np.float32)} for _ in range(4)]


def made(model: ir.Model, *steps: Step) -> tuple[ir.Model, PassReport]:
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], feeds())
    for step in steps:
        model, report = apply(step, "step", model, context)
    return model, report


def noise(step: Step | None, model: ir.Model) -> float:
    """Return signal over noise of the integer model in dB."""
    steps = [*([] if step is None else [step]), QuantizeDynamic(min_size=1)]
    after, listed = made(model, *steps)[0], feeds()
    want, got = graphs.run(model, listed), graphs.run(after, listed, Options(exact=True))
    return graphs.sqnr(want, got, "y")


SPLIT = SplitOutliers(units=2, min_size=1)
SMOOTH = Smooth(min_size=1)


def test_each_gains_what_the_loud_channels_cost() -> None:
    plain = noise(None, spoiled())
    assert noise(SPLIT, spoiled()) > plain + 6
    assert noise(SMOOTH, spoiled()) > plain + 3


def test_the_loud_channels_are_the_ones_taken_and_stay_in_float() -> None:
    after, _ = made(spoiled(), SPLIT, QuantizeDynamic(min_size=1))
    units = next(node for node in after.graph if node.op_type == "Gather")
    picked = constant(units.inputs[1])
    assert picked is not None
    assert tuple(picked) == LOUD
    assert graphs.operators(after).count("MatMul") == 1
    assert graphs.operators(after).count("MatMulInteger") == 1


def test_without_outliers_nothing_is_split() -> None:
    model = graphs.network(
        [
            graphs.node("Relu", ["x"], ["r"], name="relu"),
            graphs.node("MatMul", ["r", "w"], ["y"], name="matmul"),
        ],
        {"w": weight(SIZE, SIZE) / 8},
        shape=["batch", SIZE],
    )
    assert made(model, SPLIT)[1].edits == ()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_factors_go_into_the_norm_only_where_nobody_else_reads_it(
    elsewhere: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    after, report = made(spoiled(read_elsewhere=elsewhere), SMOOTH)
    assert ("Mul" in graphs.operators(after)) == elsewhere
    assert [edit.where for edit in report.edits] == ["matmul"]


def test_smoothing_keeps_outputs_bit_for_bit_since_factors_are_powers_of_two() -> None:
    model = spoiled(read_elsewhere=True)
    plain = Options(level="disable")
    want, got = (graphs.run(each, feeds(), plain) for each in (model, made(model, SMOOTH)[0]))
    for before, after in zip(want, got, strict=True):
        np.testing.assert_array_equal(after["y"], before["y"])


@pytest.mark.parametrize("step", [SPLIT, SMOOTH])
def test_without_samples_nothing_is_done(step: Step) -> None:
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], [])
    bare = type(context)(context.target)
    assert apply(step, "step", spoiled(), bare)[1].edits == ()


@pytest.mark.parametrize("step", [SPLIT, SMOOTH])
def test_a_target_without_integers_at_run_time_is_skipped(step: Step) -> None:
    assert isinstance(step.fit(load("tensorrt")), Skip)


def test_a_bias_is_added_before_the_far_product_where_the_runtime_joins_it() -> None:
    model = graphs.network(
        [
            graphs.node("LayerNormalization", ["x", "g", "b"], ["n"], name="norm", axis=-1),
            graphs.node("MatMul", ["n", "w"], ["m"], name="matmul"),
            graphs.node("Add", ["m", "b"], ["y"], name="bias"),
        ],
        {"g": _gain(), "b": weight(SIZE, seed=2) / 4, "w": weight(SIZE, SIZE, seed=1) / 8},
        shape=["batch", SIZE],
    )
    after, _ = made(model, SPLIT)
    total = after.graph.outputs[0].producer()
    assert total is not None
    assert total.name == "matmul.total"
    makers = [value.producer() for value in total.inputs if value is not None]
    assert [None if maker is None else maker.name for maker in makers] == ["bias", "matmul.far"]


def test_a_mask_joins_the_mul_that_smooths_and_outputs_stay_the_same() -> None:
    model = spoiled(read_elsewhere=True)
    smoothed, _ = made(model, SMOOTH)
    after, report = made(smoothed, SplitOutliers(units=2, min_size=1, least=0.0))
    assert report.edits
    assert graphs.operators(smoothed).count("Mul") == graphs.operators(after).count("Mul") == 1
    for want, got in zip(graphs.run(model, feeds()), graphs.run(after, feeds()), strict=True):
        real = want["y"].astype(np.float64)
        assert np.abs(got["y"].astype(np.float64) - real).max() <= 1e-5 * np.abs(real).max()
