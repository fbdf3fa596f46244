"""A residual sum stays apart from its layer norm, in the runtime's own graph too."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from edgepack.passes.part_norms import PartNorms
from edgepack.runtime.session import Options, Session
from edgepack.spec.step import Skip
from edgepack.spec.target import load
from tests import graphs, zoo


def parted(model: ir.Model) -> ir.Model:
    return apply(PartNorms(), "part_norms", model, graphs.context(None, []))[0]


def optimized(model: ir.Model, folder: Path) -> Counter[str]:
    path = folder / "optimized.onnx"
    Session(to_bytes(model), Options(level="extended", save_optimized=path))
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_the_runtime_joins_them_before_and_not_after(tmp_path: Path) -> None:
    model = zoo.transformer()
    assert optimized(model, tmp_path)["SkipLayerNormalization"] == 2
    assert optimized(parted(model), tmp_path)["SkipLayerNormalization"] == 0


def test_outputs_are_the_same_bit_for_bit() -> None:
    model = zoo.transformer()
    feeds = graphs.samples(model)
    plain = Options(level="disable")
    want, got = (graphs.run(each, feeds, plain) for each in (model, parted(model)))
    for before, after in zip(want, got, strict=True):
        np.testing.assert_array_equal(after["y"], before["y"])


def test_a_bias_added_before_a_norm_stays_an_add() -> None:
    model = graphs.network(
        [
            graphs.node("Add", ["x", "b"], ["a"], name="add"),
            graphs.node("LayerNormalization", ["a", "g"], ["y"], name="norm"),
        ],
        {"b": np.ones(8, np.float32), "g": np.ones(8, np.float32)},
        shape=["batch", 8],
    )
    assert graphs.operators(parted(model)) == ["Add", "LayerNormalization"]


def test_another_provider_gains_from_joining() -> None:
    assert isinstance(PartNorms().fit(load("tensorrt")), Skip)
