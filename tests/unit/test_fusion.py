"""The runtime's own graph, read back: what it fused and what it left standing."""

import numpy as np
import pytest
from onnx import helper

from edgepack.gate.fusion import fusion
from edgepack.passes import apply
from edgepack.passes.fold_batchnorm import FoldBatchnorm
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from tests import graphs, zoo
from tests.models import Array

node = helper.make_node


@pytest.mark.parametrize("name", ["residual", "linear"])
def test_a_fused_graph_keeps_one_node_at_each_end(name: str) -> None:
    model = zoo.ZOO[name]()
    ctx = graphs.context(graphs.SCHEMES["u8s8-pair"], graphs.samples(model))
    for step in (Tidy(), FoldBatchnorm(), QuantizeStatic()):
        model, _ = apply(step, "step", model, ctx)
    found = fusion(model)
    assert found.before >= 3
    assert [each.op for each in found.left] == ["QuantizeLinear"]
    assert found.left[0].end


def test_a_pair_around_a_float_kernel_is_named() -> None:
    scales: dict[str, Array] = {"s": np.array(0.1, np.float32), "z": np.array(128, np.uint8)}
    made = [
        node("Erf", ["x"], ["a"], name="before"),
        node("QuantizeLinear", ["a", "s", "z"], ["q"], name="round"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], name="restore"),
        node("Erf", ["d"], ["y"], name="after"),
    ]
    found = fusion(graphs.network(made, scales, shape=[2, 3]))
    assert [(each.op, each.tensor, each.end) for each in found.left] == [
        ("QuantizeLinear", "a", False),
        ("DequantizeLinear", "q", False),
    ]
    assert found.left[0].between.startswith("Erf before -> ")
    assert found.left[1].between.endswith(" -> Erf after")
