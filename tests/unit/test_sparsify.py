from dataclasses import replace

import msgspec
import numpy as np
import onnx_ir as ir
import pytest

from edgepack.base.errors import RequestError
from edgepack.graph.constants import constant
from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from edgepack.passes.sparsify import Sparsify
from edgepack.spec.signature import Sample
from tests import convolutions, graphs, zoo
from tests.graphs import network, node
from tests.models import Array, weight


def thinned(model: object, **fields: object) -> tuple[dict[str, Array], list[str]]:
    """Return the weights by the name of their node, and what the edits say."""
    step = Sparsify(**{"min_size": 1, **fields})  # type: ignore[arg-type]
    after, report = apply(step, "sparsify", model, graphs.context(None, []))  # type: ignore[arg-type]
    arrays = {str(n.name): constant(n.inputs[1]) for n in after.graph if len(n.inputs) > 1}
    return {k: v for k, v in arrays.items() if v is not None}, [e.what for e in report.edits]


def two(first: Array, second: Array) -> object:
    nodes = [
        node("MatMul", ["x", "a"], ["h"], name="first"),
        node("MatMul", ["h", "b"], ["y"], name="second"),
    ]
    return network(nodes, {"a": first, "b": second}, shape=["batch", first.shape[0]])


def test_the_smallest_fraction_of_a_weight_becomes_zero_and_the_rest_stays() -> None:
    before = weight(4, 5)
    found, said = thinned(two(before, weight(5, 2, seed=1)), fraction=0.25)
    cut = np.sort(np.abs(before), axis=None)[5]
    np.testing.assert_array_equal(found["first"], np.where(np.abs(before) < cut, 0, before))
    assert said == ["5 of 20 weights are zero", "2 of 10 weights are zero"]


def test_a_global_fraction_takes_from_where_weights_are_small() -> None:
    large, small = weight(4, 4) + 10, weight(4, 4, seed=1) / 100
    found, said = thinned(two(large, small), fraction=0.5, scope="global")
    assert not found["second"].any()
    assert said == ["16 of 16 weights are zero"]


@pytest.mark.parametrize("error", [0.05, 0.3])
def test_an_error_budget_is_used_and_not_exceeded(error: float) -> None:
    before = weight(30, 40)
    found, _ = thinned(two(before, weight(40, 2)), fraction=1, error=error)
    gone = np.where(found["first"] == 0, before, 0).astype(np.float64)
    smallest_left = np.abs(found["first"][found["first"] != 0]).min()
    norm = np.linalg.norm(before.astype(np.float64))
    assert np.linalg.norm(gone) <= error * norm
    assert np.linalg.norm([np.linalg.norm(gone), smallest_left]) > error * norm


def test_two_of_every_four_inputs_of_a_channel_are_zero() -> None:
    found, _ = thinned(convolutions.residual(), pattern="2:4")
    for array in found.values():
        if array.ndim == 4:
            flat = array.reshape(len(array), -1)
            fours = flat[:, : flat.shape[1] // 4 * 4].reshape(len(array), -1, 4)
            assert (np.count_nonzero(fours, axis=2) == 2).all()
    columns, _ = thinned(two(weight(8, 3), weight(3, 2)), pattern="2:4")
    assert np.count_nonzero(columns["first"], axis=0).tolist() == [4, 4, 4]


def test_what_is_no_weight_of_a_product_keeps_its_values() -> None:
    """A mask, a gain, a table, a bias, a first state, and a weight that is added elsewhere."""
    for name in ("transformer", "embedding", "recurrent", "shared_weight"):
        before = zoo.ZOO[name]()
        step = Sparsify(fraction=1, min_size=1)
        after, _ = apply(step, "sparsify", before, graphs.context(None, []))
        old = {k: v.const_value for k, v in before.graph.initializers.items()}
        gone = {k for k in old if k not in after.graph.initializers}
        assert (
            gone
            == {
                "transformer": {"q", "k", "v", "o", "up", "down"},
                "embedding": {"w"},
                "recurrent": {"w", "r", "gw", "gr"},
                "shared_weight": set(),
            }[name]
        )


def test_excluded_and_small_weights_are_left_alone() -> None:
    model = two(weight(4, 5), weight(5, 2, seed=1))
    assert thinned(model, exclude=("first",))[1] == ["5 of 10 weights are zero"]
    assert thinned(model, min_size=11)[1] == ["10 of 20 weights are zero"]
    with pytest.raises(RequestError, match="no node named 'frist'"):
        thinned(model, exclude=("frist",))


@pytest.mark.parametrize("fields", [{"fraction": 1.5}, {"error": -0.1}])
def test_a_fraction_beyond_one_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError, match="between 0 and 1"):
        msgspec.convert(fields, Sparsify)


ONE_BY_ONE = np.diag(np.array([9, 1, 5, 3, 7, 2], np.float32))
"""Inputs of which one at a time is not zero: those are uncorrelated, and the law is exact."""

LAYERS = {
    "matrix": (node("MatMul", ["x", "w"], ["y"], name="it"), (6, 4), (6, 6)),
    "gemm": (node("Gemm", ["x", "w"], ["y"], name="it", transB=1), (4, 6), (6, 6)),
    "grouped": (node("Conv", ["x", "w"], ["y"], name="it", group=2), (4, 3, 1, 1), (6, 6, 1, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weighed_by_its_inputs_the_entries_that_go_move_the_product_least(name: str) -> None:
    made, shape, inputs = LAYERS[name]
    before = network([made], {"w": weight(*shape)}, shape=list(inputs))
    samples: list[Sample] = [{"x": ONE_BY_ONE.reshape(inputs)}]
    want = graphs.run(before, samples)[0]["y"].astype(np.float64)

    def moved(model: ir.Model) -> float:
        return float(np.square(graphs.run(model, samples)[0]["y"].astype(np.float64) - want).sum())

    def error(**fields: object) -> float:
        step = msgspec.convert({"min_size": 1, **fields}, Sparsify)
        return moved(apply(step, "sparsify", before, graphs.context(None, samples))[0])

    alone = []
    for index in range(weight(*shape).size):
        array = weight(*shape)
        array.flat[index] = 0
        alone.append(moved(network([made], {"w": array}, shape=list(inputs))))
    least = sum(sorted(alone)[: len(alone) // 2])
    assert error(weighting="second_moments") == pytest.approx(least, rel=1e-4)  # float32 products
    assert error() > 1.2 * least


def test_without_data_or_rows_weights_count_by_magnitude() -> None:
    step, plain = Sparsify(min_size=1, weighting="second_moments"), Sparsify(min_size=1)
    blind = replace(graphs.context(None, []), power=None)
    for name, ctx, said in (
        ("linear", blind, ", by magnitude for want of calibration data"),
        ("recurrent", graphs.context(None, graphs.samples(zoo.ZOO["recurrent"]())), ""),
    ):
        (after, report), (want, _) = (
            apply(each, "sparsify", zoo.ZOO[name](), ctx) for each in (step, plain)
        )
        assert all(edit.what.endswith(f"are zero{said}") for edit in report.edits)
        assert to_bytes(after) == to_bytes(want)
