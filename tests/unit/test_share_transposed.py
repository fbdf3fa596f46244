"""A matrix and its transpose ship once, and the runtime folds it back."""

import numpy as np
import onnx_ir as ir
from onnx import helper

from edgepack.graph.write import to_bytes
from edgepack.passes import PassReport, apply
from edgepack.passes.share_transposed import ShareTransposed
from tests import graphs
from tests.models import weight

node = helper.make_node
TABLE = weight(40, 32)


def tied(head: np.ndarray) -> ir.Model:
    """Return an autoencoder that multiplies by a matrix and then by ``head``."""
    return graphs.network(
        [
            node("MatMul", ["x", "table"], ["h"], name="in"),
            node("Relu", ["h"], ["r"], name="relu"),
            node("MatMul", ["r", "head"], ["y"], name="out"),
        ],
        {"table": TABLE, "head": head},
        shape=["batch", 3, 40],
    )


def shared(model: ir.Model) -> tuple[ir.Model, PassReport]:
    return apply(ShareTransposed(), "share_transposed", model, graphs.context(None, []))


def test_the_twin_is_computed_and_outputs_stay_bit_for_bit() -> None:
    model = tied(TABLE.T.copy())
    after, report = shared(model)
    assert len(report.edits) == 1
    assert len(to_bytes(after)) < len(to_bytes(model)) - TABLE.nbytes + 300
    listed = graphs.samples(model)
    for a, b in zip(graphs.run(model, listed), graphs.run(after, listed), strict=True):
        assert np.array_equal(a["y"], b["y"])
    assert not shared(after)[1].edits


def test_other_weights_stay() -> None:
    other = TABLE.T.copy()
    other[0, 0] += 1
    assert not shared(tied(other))[1].edits
