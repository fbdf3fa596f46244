"""The clock of a compression step that asks for latency: a device of its target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.base.errors import MachineError
from edgepack.bench.price import Price
from edgepack.gate.place import find
from edgepack.graph.write import to_bytes
from edgepack.intake.request import Job
from edgepack.plan import Plan
from edgepack.spec.manifest import runtime_of
from edgepack.spec.signature import Sample

if TYPE_CHECKING:
    from edgepack.compress import Module


def price(plan: Plan, on: tuple[str, ...]) -> Price:
    """Return the clock that the gate would use too; see ``gate.place.find``.

    Raises:
        MachineError: There is none.
    """
    place = find(runtime_of(plan.target), on)
    if place.nowhere:
        raise MachineError(
            "E-DEVICE",
            f"pruning to a latency needs a device of {plan.target.name}: {place.nowhere}",
            hint="add --on ssh://[user@]host, or ask for macs instead of latency",
        )
    return Price(place.device)


def at_hand(plan: Plan, on: tuple[str, ...]) -> Price | None:
    """Return the same clock, None where there is none."""
    place = find(runtime_of(plan.target), on)
    return None if place.nowhere else Price(place.device)


def asks_clock(plan: Plan) -> bool:
    """Whether a step measures on a device of its target."""
    return any(getattr(bound.step, "asks_clock", False) for bound in plan.compress)


@dataclass(frozen=True, slots=True)
class Watch:
    """The clock that steps are given: torch modules in, ratios out.

    Attributes:
        job: Says how modules are exported.
        example: Inputs of the modules.
        price: The device.
    """

    job: Job
    example: object
    price: Price

    def layer(self, model: bytes, sample: Sample) -> float:
        """Return the seconds of CPU time of one run of an ONNX model."""
        return self.price.seconds(model, sample)

    def ratio(self, before: "Module", after: "Module") -> tuple[float, float, float]:
        """Return the time of ``after`` over that of ``before`` as float graphs, with its interval.

        Raises:
            ModelError: One cannot be exported.
        """
        from edgepack.export.interface import bind

        face = bind(before, self.example)
        sample = {n: t.numpy() for n, t in zip(face.names, face.example, strict=True)}
        return self.price.ratio(self._exported(before), self._exported(after), sample)

    def _exported(self, module: "Module") -> bytes:
        from edgepack.compress import private_copy
        from edgepack.export.source import Source
        from edgepack.intake.source import export_module

        return to_bytes(export_module(Source(private_copy(module), self.example), self.job).model)
