"""The same recipe behind cross-layer equalization, which is tried where int8 is refused.

One scale serves a whole tensor, so channels far smaller than their neighbours are rounded away.
Balanced between two layers they keep their codes, and every node stays in integers; leaving the
worst nodes in float would spare most of a depthwise net. It is no part of the default recipe:
weights alone do not show what each channel carries, and a recurrent net was seen to decide
differently for it. So the plain recipe goes first, and the gate judges this one like any other.

Source: Nagel et al. 2021, arXiv:2106.08295, "Standard PTQ pipeline": equalization comes first.
"""

from collections.abc import Mapping
from dataclasses import replace

from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.passes import Context, apply
from edgepack.passes.equalize import Equalize
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.plan import Bound, Plan

_USE = "equalize"


def equalized(rewritten: Rewritten) -> tuple[Rewritten | None, str]:
    """Return what ``equalize`` before the ranges are measured makes of the recipe.

    Returns:
        None where the recipe has the step, gives nodes precisions of their own, has no static
        step, trained the scales already, or where no pair of layers is out of balance. A sentence
        where there is something to balance and it cannot be done.
    """
    plan = rewritten.plan
    if not _can_gain(plan):
        return None, ""
    float_ = rewritten.rounded.model
    report = apply(Equalize(), _USE, float_, Context(plan.target))[1]
    if all(edit.left for edit in report.edits):
        return None, ""
    if rewritten.calibration is None:
        return None, "channels are not balanced: saved statistics are of the graph as it was"
    made = rewritten.remake(_inserted(plan))

    def marked(candidate: Candidate) -> Candidate:
        return replace(candidate, name=f"{candidate.name} behind equalization", equalized=True)

    def refold(spared: Mapping[str, str]) -> Candidate:
        return marked(made.refold(spared))

    candidates = (*map(marked, made.candidates[:-1]), rewritten.float_)
    return replace(made, candidates=candidates, refold=refold), ""


def _can_gain(plan: Plan) -> bool:
    uses = {bound.use for bound in plan.graph}
    trains = any(getattr(bound.step, "rounds", False) for bound in plan.compress)
    static = any(isinstance(bound.step, QuantizeStatic) for bound in plan.graph)
    return static and not trains and not uses & {_USE, "mixed_precision"}


def _inserted(plan: Plan) -> Plan:
    steps = list(plan.graph)
    place = next(i for i, bound in enumerate(steps) if isinstance(bound.step, QuantizeStatic))
    steps.insert(place, Bound(_USE, Equalize().fit(plan.target)))
    return replace(plan, graph=tuple(steps))
