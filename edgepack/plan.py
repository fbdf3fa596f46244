"""The plan: recipe x target -> steps bound to that target, or skipped with a sentence why.

There is no special case here: what a step needs to know about a target it asks in ``fit``.
"""

from dataclasses import dataclass

from edgepack.base import registry
from edgepack.base.errors import RequestError
from edgepack.spec.decode import decode
from edgepack.spec.recipe import Recipe
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target


@dataclass(frozen=True, slots=True)
class Bound:
    """A step of a recipe, fitted to a target.

    Attributes:
        use: Its name in recipes, reports and errors.
        step: The fitted step, or why it does not run.
    """

    use: str
    step: Step | Skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``build`` will do, in order; ``edgepack plan`` prints it as it is."""

    recipe: Recipe
    target: Target
    compress: tuple[Bound, ...]
    graph: tuple[Bound, ...]


def plan(recipe: Recipe, target: Target) -> Plan:
    """Bind ``recipe`` to ``target``; no model is touched.

    Raises:
        RequestError: A step is unknown, or one of its fields is.
    """
    return Plan(
        recipe,
        target,
        tuple(_bind("compress", item, target) for item in recipe.compress),
        tuple(_bind("passes", item, target) for item in recipe.graph),
    )


def _bind(kind: str, item: dict[str, object], target: Target) -> Bound:
    fields = dict(item)
    use = fields.pop("use", None)
    if not isinstance(use, str):
        raise RequestError("E-CONFIG", f"a step of the recipe lacks its name: {item!r}")
    step: object = decode(registry.find(kind, use), fields, f"step {use}")
    assert isinstance(step, Step), f"{kind}/{use}.py does not hold a Step"
    return Bound(use, step.fit(target))
