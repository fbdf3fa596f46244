"""The error of each quantized tensor: against numpy by hand, and the worst one first."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgepack.base.errors import DataError, RequestError
from edgepack.calibration.watch import watch
from edgepack.gate.layers import errors
from edgepack.graph.census import signature
from edgepack.passes import apply
from edgepack.passes.fold_batchnorm import FoldBatchnorm
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.passes.quantize_static import QuantizeStatic
from tests import graphs, zoo
from tests.convolutions import lite
from tests.graphs import items, samples
from tests.models import linear

X86 = graphs.SCHEMES["u8s8-pair"]


def _quantized(model: ir.Model) -> ir.Model:
    context = graphs.context(X86, samples(model))
    return apply(QuantizeStatic(), "quantize_static", model, context)[0]


def _folded(model: ir.Model) -> ir.Model:
    """Return a model without batch norms, as ranges are measured on it."""
    return apply(FoldBatchnorm(), "fold_batchnorm", model, graphs.context(X86, []))[0]


def _decibels(want: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> float:
    x, y = want.astype(np.float64), got.astype(np.float64)
    return float(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))


def test_both_figures_are_those_worked_out_by_hand() -> None:
    float_ = _folded(lite())
    shipped = _quantized(float_)
    sample = samples(float_, 1, seed=3)
    found = {e.tensor: e for e in errors(shipped, items(sample), signature(float_), float_)}
    ours = watch(shipped, ["r1", "r1.dq"])
    theirs = watch(float_, ["r1"])
    got = ours.tensors(ours.run(sample[0]))
    want = theirs.tensors(theirs.run(sample[0]))
    clipped = np.clip(got["r1"], 0, got["r1.dq"].max())
    assert found["r1"].added == pytest.approx(_decibels(clipped, got["r1.dq"]))
    assert found["r1"].total == pytest.approx(_decibels(want["r1"], got["r1.dq"]))
    assert found["x"].maker == "an input"
    assert (found["x"].total or 0) < (found["x"].added or 0)  # some of it was clipped


def test_the_worst_comes_first_and_a_destroyed_tensor_is_it() -> None:
    float_ = _folded(lite())
    shipped = _quantized(float_)
    scale = shipped.graph.initializers["n3.scale"]
    scale.const_value = ir.tensor(np.float32(40.0), name="n3.scale")
    found = errors(shipped, items(samples(float_)), signature(float_), float_)
    worst = [error.worst for error in found]
    assert worst == sorted(worst)
    alone = errors(shipped, items(samples(float_)), signature(float_))
    assert alone[0].tensor == "n3"
    assert all(error.total is None for error in alone)


def test_products_with_ranges_at_run_time_are_compared_where_they_end() -> None:
    float_ = zoo.attention()
    context = graphs.context(X86, samples(float_))
    shipped = apply(QuantizeDynamic(min_size=1), "quantize_dynamic", float_, context)[0]
    found = errors(shipped, items(samples(float_)), signature(float_), float_)
    assert found
    assert all(error.added is None and 10 < error.worst < 80 for error in found)


def test_another_model_and_no_samples_are_refused() -> None:
    model = lite()
    with pytest.raises(RequestError, match="other inputs or outputs"):
        errors(model, items(samples(model)), signature(model), linear())
    with pytest.raises(DataError, match="no sample"):
        errors(model, [], signature(model))
