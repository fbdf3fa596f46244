"""A clamp that a range absorbs is still there for everybody who reads its float result."""

import numpy as np
import pytest
from onnx.helper import make_node as node

from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.runtime.session import Options
from tests.graphs import SCHEMES, context, network, run, sqnr
from tests.models import weight

HEADS = {
    "Gemm": (["x", "w", "b"], [4, 16]),
    "MatMul": (["x", "w"], [4, 16]),
    "Conv": (["x", "k"], [1, 16, 4, 4]),
}
READERS = {"Sigmoid": "another node", "Identity": "the graph itself"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("head", HEADS)
def test_a_float_reader_sees_the_clamp(head: str, reader: str, clamp: str, scheme: str) -> None:
    inputs, shape = HEADS[head]
    bounds = ["zero", "one"] if clamp == "Clip" else []
    after = (
        node("Conv", ["r", "k2"], ["z"], name="after")
        if head == "Conv"
        else node("Gemm", ["r", "w2"], ["z"], name="after")
    )
    model = network(
        [
            node(head, inputs, ["a"], name="head"),
            node(clamp, ["a", *bounds], ["r"], name="clamp"),
            node(reader, ["r"], ["y"], name="reader"),
            after,
            node("Sigmoid", ["z"], ["end"], name="end"),
        ],
        {
            "w": weight(16, 16),
            "b": weight(16),
            "k": weight(16, 16, 1, 1),
            "k2": weight(8, 16, 1, 1),
            "w2": weight(16, 8),
            "zero": np.array(0, np.float32),
            "one": np.array(1, np.float32),
        },
        outputs=("r", "y", "end"),
        shape=shape,
    )
    samples = [{"x": np.random.default_rng(i).normal(size=shape).astype("f4")} for i in range(4)]
    done, _ = apply(QuantizeStatic(), "quantize_static", model, context(SCHEMES[scheme], samples))
    want, got = run(model, samples), run(done, samples, Options(exact=True))
    assert min(output["r"].min() for output in got) >= 0
    for name in ("r", "y", "end"):
        assert sqnr(want, got, name) > 20, name  # a lost clamp gives below 5 dB
