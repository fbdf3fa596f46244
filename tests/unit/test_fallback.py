"""What is tried between all integers and float, and in which order."""

from dataclasses import replace

import pytest

from edgepack.data import metrics
from edgepack.data.samples import Dataset, open_dataset
from edgepack.gate.accuracy import Judged, Limit, judge
from edgepack.gate.candidates import Candidate, Rewritten, rewrite
from edgepack.gate.choose import Chooser, Chosen
from edgepack.gate.equalized import equalized
from edgepack.gate.evaluate import evaluate
from edgepack.gate.fallback import Fallback
from edgepack.gate.mixed import Mixer
from edgepack.gate.place import Place
from edgepack.gate.terms import Clocked, Terms
from edgepack.graph.census import signature
from edgepack.graph.precision import integer_nodes
from edgepack.graph.read import parse
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import recipe, target
from tests.projects import stripes, stripes_net, unbalance

NAME = "int8 behind equalization"


def _rewritten(name: str = "int8", *, balanced: bool = False) -> Rewritten:
    net = stripes_net() if balanced else unbalance(stripes_net())
    model = parse(net.SerializeToString(), "stripes").model
    face = signature(model)
    calibration = open_dataset({"image": stripes(64, 1)[0]}, face, labelled=False)
    return rewrite(plan(recipe.load(name), target.load("x86_64")), model, face, calibration)


def _items(made: Rewritten, count: int = 60) -> Dataset:
    images, labels = stripes(count, 2)
    arrays = {"image": images, "labels": labels}
    return open_dataset(arrays, made.signature, labelled=True)


@pytest.fixture(scope="module")
def made() -> Rewritten:
    return _rewritten()


def _choose(made: Rewritten, said: list[str] | None = None, **terms: object) -> Chosen:
    limits = Terms(metrics.load("top1"), objective="size", **terms)  # type: ignore[arg-type]
    heard = [] if said is None else said
    return Chooser(made, limits, Place(), heard.append).choose(_items(made))


def test_every_node_stays_in_integers_behind_equalization(made: Rewritten) -> None:
    chosen = _choose(made, require_int8=True)  # of so small a net float has fewer bytes
    assert chosen.candidate.name == NAME
    assert integer_nodes(chosen.candidate.model) == integer_nodes(made.candidates[0].model)
    assert len(list(chosen.items)) == 40  # the others selected


@pytest.mark.parametrize(
    ("name", "balanced"), [("int8", True), ("float32", False), ("mixed", False)]
)
def test_it_is_not_made_where_it_cannot_help(name: str, balanced: bool) -> None:  # noqa: FBT001
    assert equalized(_rewritten(name, balanced=balanced)) == (None, "")


def test_a_float_prefix_of_it_is_made_by_the_recipe_behind_equalization(made: Rewritten) -> None:
    known = {f"{NAME} behind 1 float convolutions": Clocked()}
    chosen = _choose(made, replayed=known, require_int8=True)
    assert chosen.candidate.name == next(iter(known))
    done = {step.use: step.edits for step in chosen.candidate.steps}
    assert done["equalize"] == 1


def _fallback(made: Rewritten, said: list[str], barred: set[str], **limits: object) -> Fallback:
    mixer = Mixer(made, Terms(), Options(exact=True), said.append, said.append)
    limit = Limit(metrics.load("top1"), max_drop=None, strict=False, where="here")
    limit = replace(limit, **limits)  # type: ignore[arg-type]

    def judged(each: Candidate, data: Dataset) -> Judged:
        reference, scored = (
            evaluate(one.data, data, made.signature, mixer.options) for one in (made.float_, each)
        )
        return judge(reference, scored, limit)

    return Fallback(mixer, judged, barred)


def test_where_it_is_refused_later_nodes_of_it_are_spared(made: Rewritten) -> None:
    items = _items(made)
    assert next(_fallback(made, [], set()).offers(items)).name == NAME
    (spared,) = _fallback(made, [], {NAME}).offers(items)
    assert spared.name == "int8 with 1 nodes in float behind equalization"


def test_that_sparing_nodes_does_not_help_is_not_said_where_samples_are_too_few(
    made: Rewritten,
) -> None:
    said = list[str]()
    assert not list(_fallback(made, said, set(), strict=True).offers(_items(made)))
    assert said[-1].startswith("too few samples select to tell whether leaving nodes in float")
    assert "about 582 evaluation samples would" in said[-1]


def test_too_few_groups_to_select_on_are_a_sentence(made: Rewritten) -> None:
    said = list[str]()
    assert _fallback(made, said, set()).split(_items(made, 5)) is None
    assert "5 groups of evaluation samples are too few" in said[0]
