"""Linear layers on stacks of matrices become Gemm over rows, before static quantization."""

from collections import Counter

import numpy as np
import pytest

from edgepack.calibrate import quantizable
from edgepack.graph.constants import constant
from edgepack.graph.copying import private_copy
from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.quantization.rows import flatten
from tests import graphs, zoo


@pytest.mark.parametrize("rows", [1, "batch"])
def test_layers_share_rows_and_keep_values(rows: int | str) -> None:
    model = zoo.stacked(rows)
    listed = graphs.samples(model)
    want = graphs.run(model, listed)
    gone = flatten(model)
    assert [name for name, _ in gone] == ["up_add", "down_add", "side_add"]
    ops = Counter(graphs.operators(model))
    # one way in, and one way out for each layer that something else reads
    assert (ops["Reshape"], ops["Gemm"], ops["MatMul"]) == (3, 3, 0)
    for before, after in zip(want, graphs.run(model, listed), strict=True):
        gap = np.abs(after["y"].astype(np.float64) - before["y"].astype(np.float64))
        assert gap.max() < 1e-5, "sums in another order"


def test_two_open_axes_cannot_be_told_from_rows() -> None:
    model = zoo.attention(tokens="tokens")
    assert flatten(model) == []
    assert "Gemm" not in graphs.operators(model)


@pytest.mark.parametrize("name", ["down_matmul", "down_add"])
def test_an_excluded_layer_stays_as_it_was_written(name: str) -> None:
    model = zoo.stacked(1)
    flatten(model, {name})
    assert [n.name for n in model.graph if n.op_type in {"Gemm", "MatMul"}] == [
        "up_matmul",
        "down_matmul",
        "side_matmul",
    ]
    assert graphs.operators(model).count("MatMul") == 1


def test_calibration_alone_measures_what_static_quantization_asks_for() -> None:
    model = zoo.stacked("batch")
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], graphs.samples(model))
    done, _ = apply(QuantizeStatic(), "quantize_static", model, context)
    paired = {
        str(n.inputs[0].name)
        for n in done.graph
        if n.op_type == "QuantizeLinear" and n.inputs[0] and constant(n.inputs[0]) is None
    }
    draft = private_copy(model)
    flatten(draft)
    assert paired <= set(quantizable(draft))
