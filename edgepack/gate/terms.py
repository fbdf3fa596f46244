"""What must hold for an artifact to ship, and what a clock said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgepack.base.errors import GateError
from edgepack.bench.price import Price
from edgepack.data.metrics import Metric
from edgepack.gate import peer
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.speed import Comparison
from edgepack.graph.constants import constant
from edgepack.plan import Plan
from edgepack.spec.step import Skip


@dataclass(frozen=True, slots=True)
class Clocked:
    """What a clock said of one candidate: the only part of a choice that may differ next time.

    Attributes:
        comparison: Against float, None where not asked or not possible.
        latency: Seconds at the 90th percentile, None where no limit was set.
    """

    comparison: Comparison | None = None
    latency: float | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What must hold for an artifact to ship.

    Attributes:
        metric: None where fidelity is the gate.
        max_drop: Loss allowed; None for the default.
        strict: Whether the interval must hold the limit too.
        objective: ``speed`` asks that int8 is not slower than float where that can be seen.
        require_int8: Fail rather than ship float.
        max_size: Bytes of the model file, None for no limit.
        max_latency: Seconds at the 90th percentile where it is timed, None for no limit.
        replayed: What a clock said in an earlier build, by candidate; None to measure.
        price: A clock of the target, for the nodes of mixed precision; None where there is none.
        mixed: Candidate -> node -> precision, as an earlier build selected them.
    """

    metric: Metric | None = None
    max_drop: float | None = None
    strict: bool = False
    objective: Literal["speed", "size"] = "speed"
    require_int8: bool = False
    max_size: int | None = None
    max_latency: float | None = None
    replayed: Mapping[str, Clocked] | None = None
    price: Price | None = None
    mixed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def why_float(rewritten: Rewritten, refusals: Sequence[str]) -> str:
    """Say why nothing but float ships although the recipe asked for more, or nothing."""
    graph = rewritten.plan.graph
    asked = [bound for bound in graph if bound.use.startswith("quantize")]
    asked = asked or [bound for bound in graph if bound.use == "float16"]
    if not asked:
        return ""
    if refusals:
        ours = [told for told in refusals if not told.startswith(peer.NAME)]
        return (ours or list(refusals))[-1]
    skipped = [bound.step.reason for bound in asked if isinstance(bound.step, Skip)]
    heaviest = _heaviest(rewritten.float_)
    return next(iter([*skipped, *heaviest]), "no node of it can be quantized")


def _heaviest(candidate: Candidate) -> list[str]:
    """Return why the node with the most weights was left in float; empty where none was."""
    sizes = {
        str(node.name): sum(array.size for array in map(constant, node.inputs) if array is not None)
        for node in candidate.model.graph
    }
    nodes = sorted(candidate.left, key=lambda name: sizes.get(name, 0), reverse=True)
    return [candidate.left[name] for name in nodes[:1]]


def required(rewritten: Rewritten, refusals: Sequence[str]) -> GateError:
    """Say why no int8 ships although it is required: a gate, a skipped step, nothing to do."""
    plan = rewritten.plan
    skipped = [
        bound.step.reason
        for bound in plan.graph
        if isinstance(bound.step, Skip) and bound.use.startswith("quantize")
    ]
    reasons = [*refusals, *skipped, *_heaviest(rewritten.float_), "no node of it can be quantized"]
    return GateError(
        "E-GATE",
        f"int8 is required for {plan.target.name} and does not ship: {reasons[0]}",
        hint="raise --max-drop, give more calibration data, or leave --require out",
    )


def nothing_passes(plan: Plan, refusals: Sequence[str]) -> GateError:
    """Say why not even float ships."""
    why = refusals[-1] if refusals else "there is no candidate"
    return GateError(
        "E-GATE",
        f"nothing passes the gates for {plan.target.name}: {why}",
        hint="loosen the limit, or give another recipe",
    )


def not_shown(plan: Plan, sentence: str) -> GateError:
    """Say that a strict limit is met by the samples and not by their interval."""
    return GateError(
        "E-GATE",
        f"--strict, and the limit is not shown to hold for {plan.target.name}: {sentence}",
        hint="give more evaluation samples, or leave --strict out",
    )
