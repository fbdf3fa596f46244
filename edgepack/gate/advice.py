"""What the user could ask for next, where the gate kept most of a model out of integers."""

from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.graph.precision import integer_nodes
from edgepack.passes.mixed_precision import MixedPrecision
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.spec.step import Skip

_MOST = 0.5
"""Share of the nodes that int8 reaches; with fewer left the rest is worth another recipe."""


def advice(rewritten: Rewritten, ships: Candidate) -> str:
    """Point at mixed precision where accuracy left less than half of the integers, or nothing.

    Args:
        rewritten: The candidates; the first was refused for accuracy.
        ships: The one that ships instead.
    """
    plan, whole = rewritten.plan, len(integer_nodes(rewritten.candidates[0].model))
    kept = len(integer_nodes(ships.model))
    static = any(isinstance(bound.step, QuantizeStatic) for bound in plan.graph)
    has_it = any(bound.use == "mixed_precision" for bound in plan.graph)
    cannot = isinstance(MixedPrecision().fit(plan.target), Skip)
    if not static or has_it or cannot or kept >= _MOST * whole:
        return ""
    asked = "--recipe mixed" if plan.recipe.name == "int8" else "step mixed_precision"
    return (
        f"{kept} of {whole} nodes ship in integers: {asked} goes on node by node, and leaves as "
        "few in more bits as the gate needs"
    )
