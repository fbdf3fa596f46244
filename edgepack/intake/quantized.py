"""A model that was quantized before: it can be packed and proved as it is, and not quantized again.

Its ranges and roundings are those of the tool that made it; passes for float graphs would undo
them (a constant that is restored from codes is a float constant to them), so none runs.
"""

from dataclasses import replace

from edgepack.base import registry
from edgepack.base.errors import ModelError
from edgepack.intake.request import Job
from edgepack.intake.source import Source
from edgepack.plan import Bound, Plan
from edgepack.spec.step import Skip

AS_GIVEN = "the model was quantized before: it ships as it is, and is compared with itself"


def refuse(source: Source, name: str) -> None:
    """Refuse a model that was quantized before.

    Raises:
        ModelError: It was.
    """
    if source.quantized:
        raise ModelError(
            "E-QUANT-TWICE",
            f"{name!r} is quantized already (node {source.quantized})",
            hint="--recipe float32 packs it as it is; to quantize it here, give the float model",
        )


def as_given(job: Job, source: Source) -> tuple[Job, Source]:
    """Return a job whose plans leave a quantized model as it is; one of a float model unchanged.

    Raises:
        ModelError: The model was quantized before, and a recipe changes values.
    """
    if not source.quantized:
        return job, source
    if any(_changes(plan) for plan in job.plans):
        refuse(source, job.request.model or "")
    plans = tuple(replace(plan, graph=tuple(map(_left, plan.graph))) for plan in job.plans)
    return replace(job, plans=plans), replace(source, notes=(*source.notes, AS_GIVEN))


def _changes(plan: Plan) -> bool:
    return bool(plan.compress) or any(
        getattr(registry.find("passes", bound.use), "keeps", "") != "values" for bound in plan.graph
    )


def _left(bound: Bound) -> Bound:
    return Bound(bound.use, Skip(bound.use, "the model was quantized before"))
