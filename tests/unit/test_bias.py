"""Bias correction: mean errors of channels leave, where data kept out agree, and nothing else."""

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.graph.constants import constant
from edgepack.graph.copying import private_copy
from edgepack.passes import apply
from edgepack.passes.fold_batchnorm import FoldBatchnorm
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from edgepack.quantization.bias import correct
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from tests import graphs, zoo
from tests.models import Array

EXACT = Options(exact=True)


def both(name: str, scheme: str, listed: list[Sample]) -> tuple[ir.Model, ir.Model, ir.Model]:
    """Return a model in float, in static int8, and in static int8 with corrected biases."""
    model = zoo.ZOO[name]()
    context = graphs.context(graphs.SCHEMES[scheme], listed)
    for step in (Tidy(), FoldBatchnorm()):
        model, _ = apply(step, "step", model, context)
    plain, _ = apply(QuantizeStatic(), "quantize_static", model, context)
    corrected, _ = apply(QuantizeStatic(correct_bias=True), "quantize_static", model, context)
    return model, plain, corrected


def weights(model: ir.Model, *, biases: bool) -> list[Array]:
    """Return the constants that are codes of biases, or all others."""
    found = [constant(value) for value in model.graph.initializers.values()]
    return [a for a in found if a is not None and (a.dtype == np.int32) == biases]


@pytest.mark.parametrize("scheme", ["u8s8-pair", "s8s8-symmetric"])
@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_noise_on_runs_kept_out_never_rises(name: str, scheme: str) -> None:
    """The second scheme keeps its biases in float."""
    listed = graphs.samples(zoo.ZOO[name](), 8)
    model, plain, corrected = both(name, scheme, listed)
    held = listed[1::2]
    want = graphs.run(model, held)
    real = [spec for spec, array in want[0].items() if array.dtype == np.float32]
    before, after = (
        sum(10 ** (-graphs.sqnr(want, graphs.run(each, held, EXACT), out) / 10) for out in real)
        for each in (plain, corrected)
    )
    assert after <= before * (1 + 1e-9)


@pytest.mark.parametrize("name", ["lite", "stacked_open", "residual"])
def test_mean_errors_fall_on_new_samples_and_only_biases_change(name: str) -> None:
    listed = graphs.samples(zoo.ZOO[name](), 24)
    model, plain, corrected = both(name, "u8s8-pair", listed)
    fresh = graphs.samples(model, 200, seed=1)
    want = graphs.run(model, fresh)
    noise = [graphs.sqnr(want, graphs.run(each, fresh, EXACT), "y") for each in (plain, corrected)]
    assert noise[1] > noise[0]
    for before, after in zip(
        weights(plain, biases=False), weights(corrected, biases=False), strict=True
    ):
        np.testing.assert_array_equal(after, before)


def test_a_single_sample_corrects_nothing() -> None:
    _, plain, corrected = both("lite", "u8s8-pair", graphs.samples(zoo.ZOO["lite"](), 1))
    for before, after in zip(
        weights(plain, biases=True), weights(corrected, biases=True), strict=True
    ):
        np.testing.assert_array_equal(after, before)


def test_a_model_without_error_is_left_alone() -> None:
    model = zoo.ZOO["stacked"]()
    context = graphs.context(None, graphs.samples(model))
    assert context.rows is not None
    before = private_copy(model)
    assert correct(model, before, context.rows) == ""
