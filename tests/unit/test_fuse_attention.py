"""Attention of torch's exporters becomes one node; what is unlike is left with a reason."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.base.distance import largest_difference
from edgepack.graph.read import parse
from edgepack.passes import PassReport, apply
from edgepack.passes.fuse_attention import FuseAttention
from edgepack.passes.tidy import Tidy
from edgepack.spec.step import Skip
from edgepack.spec.target import load
from tests import graphs, zoo
from tests.models import Array
from tests.torch_models import ATTENTIONS, attention_onnx


def fused(model: ir.Model) -> tuple[ir.Model, PassReport]:
    context = graphs.context(None, [])
    model, _ = apply(Tidy(), "tidy", model, context)
    return apply(FuseAttention(), "fuse_attention", model, context)


def edited(build: Callable[[ir.Graph], None]) -> str:
    """Return what is said of the zoo's attention after a change."""
    model = zoo.attention()
    build(model.graph)
    model, report = fused(model)
    assert "MultiHeadAttention" not in graphs.operators(model)
    return " ".join(edit.what for edit in report.edits if edit.left)


def named(graph: ir.Graph, name: str) -> ir.Node:
    return next(node for node in graph if node.name == name)


def same(model: ir.Model, after: ir.Model, feeds: Mapping[str, Array]) -> None:
    want, got = (graphs.run(each, [dict(feeds)])[0]["y"] for each in (model, after))
    assert np.isfinite(want.astype(np.float64)).all()
    assert largest_difference(want, got) < 1e-6, "rounding alone"


MASKS = ([[1, 1, 1, 1, 1]] * 2, [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_each_form_that_torch_exports_is_one_node_with_the_same_values(
    kind: str,
    dynamo: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    model = parse(attention_onnx(kind, dynamo=dynamo), "the export").model
    after, report = fused(model)
    assert graphs.operators(after).count("MultiHeadAttention") == 1
    assert not {"Softmax"} & set(graphs.operators(after)), report.edits
    rng = np.random.default_rng(0)
    names = {value.name for value in model.graph.inputs}
    for mask in MASKS:
        full: dict[str, Array] = {
            "x": rng.standard_normal((2, 5, 16)).astype(np.float32),
            "mask": np.array(mask, np.int64),
        }
        same(model, after, {name: array for name, array in full.items() if name in names})


def test_a_row_whose_every_key_is_masked_gives_what_the_float_model_gives() -> None:
    model = zoo.attention()
    x = np.random.default_rng(1).standard_normal((2, 5, 16)).astype(np.float32)
    x[0, :, 0] = -1  # all below the least that is kept
    same(model, fused(model)[0], {"x": x})


def test_weights_that_an_output_shows_stay() -> None:
    def show(graph: ir.Graph) -> None:
        graph.outputs.append(named(graph, "guard").outputs[0])

    assert "also read by another node" in edited(show)


def test_heads_that_are_left_apart_stay() -> None:
    def swap(graph: ir.Graph) -> None:
        named(graph, "together").attributes["perm"] = ir.AttrInt64s("perm", [2, 0, 1, 3])

    assert "not brought together" in edited(swap)


def test_a_softmax_over_queries_stays() -> None:
    def turn(graph: ir.Graph) -> None:
        named(graph, "softmax").attributes["axis"] = ir.AttrInt64("axis", 2)

    assert "does not run over the keys" in edited(turn)


def test_a_single_head_without_reshape_is_left_with_its_reason() -> None:
    _, report = fused(zoo.transformer())
    assert [edit.what for edit in report.edits] == [
        "attention is not fused: its heads are not split off by Reshape and Transpose"
    ]


def test_a_softmax_at_the_end_is_no_attention_and_is_not_spoken_of() -> None:
    model = graphs.network(
        [graphs.node("Softmax", ["x"], ["y"], name="softmax")], {}, shape=["batch", 4]
    )
    assert fused(model)[1].edits == ()


def test_a_provider_without_the_kernel_is_skipped() -> None:
    said = FuseAttention().fit(load("tensorrt"))
    assert isinstance(said, Skip)
    assert "no attention kernel" in said.reason
