"""A float prefix: which convolutions it holds, when it is taken, how a replay finds it again."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.data import metrics
from edgepack.data.samples import open_dataset
from edgepack.gate.candidates import Rewritten, rewrite
from edgepack.gate.choose import Chooser, Chosen
from edgepack.gate.place import Place
from edgepack.gate.prefix import fastest, prefixes, winner
from edgepack.gate.terms import Clocked, Terms, why_float
from edgepack.graph.census import signature
from edgepack.graph.constants import constant
from edgepack.graph.precision import integer_nodes
from edgepack.graph.write import to_bytes
from edgepack.plan import plan
from edgepack.spec import target
from edgepack.spec.recipe import Recipe
from tests import graphs
from tests.convolutions import lite
from tests.models import convolutional, linear

STEPS = ("tidy", "fold_batchnorm", "quantize_static")


@pytest.fixture(scope="module")
def made() -> Rewritten:
    return _rewritten(lite())


def _rewritten(model: ir.Model) -> Rewritten:
    face = signature(model)
    recipe = Recipe(name="short", summary="", graph=tuple({"use": use} for use in STEPS))
    calibration = open_dataset(graphs.samples(model), face, labelled=False)
    return rewrite(plan(recipe, target.load("x86_64")), model, face, calibration)


def _choose(made: Rewritten, **terms: object) -> Chosen:
    items = graphs.items(graphs.samples(made.float_.model, seed=1))
    limits = Terms(metrics.load("agreement"), max_drop=1.0, **terms)  # type: ignore[arg-type]
    return Chooser(made, limits, Place(), lambda _: None).choose(items)


def test_a_prefix_holds_the_first_convolutions_and_never_all(made: Rewritten) -> None:
    whole = made.candidates[0]
    nodes = [n for n in integer_nodes(whole.model) if n != "gemm"]
    found = list(prefixes(made, whole))
    assert len(found) == min(5, len(nodes) - 1) > 0
    for count, candidate in enumerate(found, start=1):
        assert candidate.name == f"int8 behind {count} float convolutions"
        assert not set(nodes[:count]) & set(integer_nodes(candidate.model))
        assert set(nodes[count:]) <= set(integer_nodes(candidate.model))
        assert candidate.left[nodes[0]] == "spared by the gate"


def test_a_fold_leaves_nothing_behind_for_the_next(made: Rewritten) -> None:
    whole = made.candidates[0]
    made.refold(dict.fromkeys(integer_nodes(whole.model), "float32"))
    again = made.refold({})
    assert (again.data, again.steps) == (whole.data, whole.steps)
    assert [step.use for step in again.steps] == list(STEPS)


def test_the_least_time_wins_among_those_faster_in_all_rounds_but_one() -> None:
    whole, shaky = [10] * 8, [2] * 6 + [11] * 2
    faster, fastest_ = [9] * 8, [8] * 7 + [20]
    assert winner(np.array([whole, shaky, faster, fastest_], float).T) == 3
    assert winner(np.array([whole, shaky], float).T) == 0


def test_a_gain_below_one_percent_is_not_worth_a_prefix() -> None:
    assert winner(np.array([[10.0, 9.95], [10.0, 9.95]])) == 0


def test_a_model_with_far_less_to_do_is_found_by_the_clock() -> None:
    """Not a speed that is asserted, but that the clock, the turns and the choice fit together."""
    large, small = (to_bytes(linear(rows=64, cols=cols)) for cols in (65536, 64))
    sample = {"x": np.ones((1, 64), np.float32)}
    assert fastest([large, small], sample, Place()) == 1
    assert fastest([small, large], sample, Place()) == 0


def test_a_replay_takes_the_prefix_that_the_report_names(made: Rewritten) -> None:
    name = "int8 behind 2 float convolutions"
    assert _choose(made, replayed={name: Clocked()}).candidate.name == name
    assert _choose(made, replayed={"int8": Clocked()}).candidate.name == "int8"


def test_a_prefix_that_exceeds_the_size_allowed_is_not_tried() -> None:
    made = _rewritten(convolutional(channels=32))
    name, whole = "int8 behind 1 float convolutions", made.candidates[0]
    known = {name: Clocked()}
    assert _choose(made, replayed=known).candidate.name == name
    assert _choose(made, replayed=known, max_size=len(whole.data)).candidate is whole


def test_nothing_is_timed_where_size_comes_first() -> None:
    made = _rewritten(convolutional(channels=32))
    chosen = _choose(made, objective="size")
    assert chosen.candidate is made.candidates[0]
    assert chosen.clocked["int8"].comparison is None


def test_integers_that_need_more_bytes_than_float_do_not_ship_where_size_comes_first(
    made: Rewritten,
) -> None:
    assert len(made.candidates[0].data) > len(made.float_.data)  # few weights, many nodes
    assert _choose(made, objective="size").refusals[0] == (
        "int8 is refused: size comes first, and its 4.3 kB exceed 2.7 kB of float32"
    )
    whole = _choose(made, objective="size", require_int8=True)
    assert whole.candidate is made.candidates[0]


def test_float_ships_for_the_reason_of_ours_and_of_its_heaviest_node(made: Rewritten) -> None:
    told = ("int8 is refused: 19.3 dB", "int8 by onnxruntime's tool is refused: -2.4 dB")
    assert why_float(made, told) == told[0]
    assert why_float(made, told[1:]) == told[1]
    heavy, light = (str(node.name) for node in (_weighty(made.float_.model)[i] for i in (-1, 0)))
    left = {light: "it is light", heavy: "it is heavy"}
    bare = replace(made, candidates=(replace(made.float_, left=left),))
    assert why_float(bare, ()) == "it is heavy"


def _weighty(model: ir.Model) -> list[ir.Node]:
    """Return the nodes with a constant input, the largest last."""

    def size(node: ir.Node) -> int:
        return sum(a.size for value in node.inputs if (a := constant(value)) is not None)

    return sorted(filter(size, model.graph), key=size)
