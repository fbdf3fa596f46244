"""GPTQ at eight bits: less error on the inputs that were seen, and the pair law still holds."""

import numpy as np
import pytest

from edgepack.calibration import moments
from edgepack.calibration.moments import Moments
from edgepack.graph.write import to_bytes
from edgepack.passes import Step, apply
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.quantization.gptq import output_error
from edgepack.quantization.pair_law import obeys
from edgepack.quantization.refine import refine
from edgepack.quantization.scales import quantize_weight
from edgepack.quantization.scheme import scheme_for
from edgepack.runtime.session import Options
from tests import graphs, zoo
from tests.unit.test_gptq import correlated


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scheme", graphs.SCHEMES)
@pytest.mark.parametrize("rows", [64, 33])
def test_errors_fall_and_pairs_keep_the_law(scheme: str, axis: int, rows: int) -> None:
    facts = scheme_for(graphs.SCHEMES[scheme])
    x = correlated(400, rows)
    moments = Moments(400, (x.T @ x)[None])
    weight = np.random.default_rng(1).normal(0, 1, (rows, 24)).astype(np.float32)
    stored = weight if axis == 1 else weight.T.copy()
    nearest = quantize_weight(stored, axis, facts, np.zeros(24))
    better = refine(nearest, stored, moments, pair_law=facts.pair_law)
    codes = [(p.codes if axis == 1 else p.codes.T).astype(np.int64) for p in (nearest, better)]
    errors = []
    for each in codes:
        stands_for = np.multiply(each, nearest.scale, dtype=np.float64)
        errors.append(output_error(weight.astype(np.float64), stands_for, x.T @ x))
    assert errors[1] < 0.7 * errors[0]
    assert obeys(codes[1]) or not facts.pair_law
    assert np.abs(codes[1]).max() <= 127
    np.testing.assert_array_equal(better.scale, nearest.scale)


def test_without_enough_rows_nothing_changes() -> None:
    facts = scheme_for(graphs.SCHEMES["u8s8-pair"])
    weight = np.random.default_rng(0).normal(0, 1, (8, 3)).astype(np.float32)
    packed = quantize_weight(weight, 1, facts, np.zeros(3))
    few = correlated(7, 8)
    for seen in (None, Moments(7, (few.T @ few)[None])):
        assert refine(packed, weight, seen, pair_law=True) is packed


STEPS: dict[str, dict[str, Step]] = {
    "static": {r: QuantizeStatic(rounding=r) for r in ("nearest", "gptq")},
    "dynamic": {r: QuantizeDynamic(rounding=r, min_size=1) for r in ("nearest", "gptq")},
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_model_is_rounded_for_what_it_sees(kind: str) -> None:
    model = zoo.stacked(1)
    x = correlated(7 * 24, 16).astype(np.float32).reshape(24, 1, 7, 16)
    listed = [{"x": each} for each in x]
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], listed)
    want = graphs.run(model, listed)
    made = {r: apply(step, "step", model, context)[0] for r, step in STEPS[kind].items()}
    noise = {
        r: graphs.sqnr(want, graphs.run(m, listed, Options(exact=True)), "y")
        for r, m in made.items()
    }
    assert noise["gptq"] > noise["nearest"]


@pytest.mark.parametrize("kind", STEPS)
def test_matrices_too_wide_for_gptq_are_rounded_to_nearest_and_said_to_be(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.stacked(1)
    listed = graphs.samples(model, 24)
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], listed)
    monkeypatch.setattr(moments, "WIDEST", 3)
    made = {r: apply(step, "step", model, context) for r, step in STEPS[kind].items()}
    (gptq, report), (nearest, _) = made["gptq"], made["nearest"]
    assert to_bytes(gptq) == to_bytes(nearest)
    assert any("to nearest: its 16 inputs are too many" in edit.what for edit in report.edits)
