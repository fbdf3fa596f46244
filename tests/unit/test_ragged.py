"""Samples of any length, with every range method and every rounding."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.calibration.collect import collect
from edgepack.graph.census import signature
from edgepack.passes import Context, Step, apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.quantize_weights import QuantizeWeights
from edgepack.quantization.choose import choose
from edgepack.quantization.scheme import scheme_for
from edgepack.spec.signature import Sample
from tests import graphs
from tests.models import weight

RANGES = ("auto", "minmax", "percentile", "entropy", "mse")
STEPS: dict[str, Step] = {
    **{name: QuantizeStatic(ranges=name) for name in RANGES},  # type: ignore[arg-type]
    "gptq": QuantizeWeights(bits=4, block=16, min_size=1),
}
FLOOR_DB = {"gptq": 12.0}
"""Four bits lose more than eight, which 25 dB are asked of."""


def ragged() -> tuple[ir.Model, list[Sample]]:
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="two"),
    ]
    v = weight(32, 24)
    v[:, 3] = 0  # a channel that is zero throughout
    model = graphs.network(nodes, {"v": v, "w": weight(24, 8, seed=1)}, shape=["n", "t", 32])
    rng = np.random.default_rng(0)
    lengths = (1, 2, 7, 50, 300, 3)
    return model, [{"x": rng.standard_normal((1, t, 32)).astype(np.float32)} for t in lengths]


def context(listed: list[Sample]) -> Context:
    found = graphs.context(graphs.SCHEMES["u8s8-pair"], listed)

    def pick(model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, str]:
        face, items = signature(model), graphs.items(listed)
        seen = collect(model, tensors, items, face)
        return choose(model, seen, items, face, scheme_for(graphs.SCHEMES["u8s8-pair"]))

    return dataclasses.replace(found, choose=pick)


@pytest.mark.parametrize("name", STEPS)
def test_samples_of_any_length_calibrate(name: str) -> None:
    model, listed = ragged()
    after, report = apply(STEPS[name], name, model, context(listed))
    assert any("weights to" in edit.what or "4 bits" in edit.what for edit in report.edits)
    want, got = graphs.run(model, listed), graphs.run(after, listed)
    assert graphs.sqnr(want, got, "y") > FLOOR_DB.get(name, 25.0)
