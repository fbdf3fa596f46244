import pytest

from edgepack.base.errors import RequestError
from edgepack.passes.float16 import Float16
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from edgepack.plan import Plan, plan
from edgepack.spec import recipe, target
from edgepack.spec.recipe import Recipe
from edgepack.spec.step import Skip


def bound(recipe_: Recipe, name: str = "x86_64") -> Plan:
    return plan(recipe_, target.load(name, target.BUILT_IN))


def test_steps_keep_their_order_and_get_their_parameters() -> None:
    wanted: tuple[dict[str, object], ...] = (
        {"use": "tidy"},
        {"use": "quantize_static", "exclude": ["conv1"]},
    )
    found = bound(Recipe("own", graph=wanted))
    assert [each.use for each in found.graph] == ["tidy", "quantize_static"]
    assert found.graph[0].step == Tidy()
    assert found.graph[1].step == QuantizeStatic(exclude=("conv1",))
    assert found.compress == ()


def test_a_step_that_a_target_gains_nothing_from_is_skipped_with_a_sentence() -> None:
    found = bound(recipe.load("int8"), "cuda")
    steps = {each.use: each.step for each in found.graph}
    assert steps["quantize_static"] == Skip(
        "quantize_static", "cuda has no integer kernels that pay"
    )
    assert steps["float16"] == Float16()


@pytest.mark.parametrize("name", target.names(target.BUILT_IN))
@pytest.mark.parametrize("built_in", recipe.names())
def test_every_recipe_has_a_plan_for_every_target(built_in: str, name: str) -> None:
    wanted = recipe.load(built_in)
    found = bound(wanted, name)
    assert [each.use for each in found.graph] == [item["use"] for item in wanted.graph]
    for each in found.graph:
        assert not isinstance(each.step, Skip) or each.step.use == each.use


@pytest.mark.parametrize(
    ("item", "code", "hint"),
    [
        ({"use": "quantise_static"}, "E-STEP", "did you mean 'quantize_static'?"),
        ({"use": "quantize_static", "excludes": []}, "E-CONFIG", "did you mean 'exclude'?"),
        ({"use": "quantize_static", "exclude": "conv1"}, "E-CONFIG", ""),
        ({"use": "quantize_static", "ranges": "minmx"}, "E-CONFIG", ""),
        ({"exclude": []}, "E-CONFIG", ""),
        ({"use": 3}, "E-CONFIG", ""),
    ],
)
def test_a_wrong_step_is_a_wrong_request(item: dict[str, object], code: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        bound(Recipe("own", graph=(item,)))
    assert (caught.value.code, caught.value.hint) == (code, hint)


def test_a_pass_is_no_compress_step() -> None:
    with pytest.raises(RequestError, match="no step named 'tidy'"):
        bound(Recipe("own", compress=({"use": "tidy"},)))


def test_planning_leaves_the_recipe_as_it_is() -> None:
    wanted = recipe.load("int8")
    bound(wanted)
    assert wanted == recipe.load("int8")
