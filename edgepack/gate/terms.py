"""What must hold for an artifact to ship, and what a clock said of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgepack.bench.price import Price
from edgepack.data.metrics import Metric
from edgepack.gate.speed import Comparison


@dataclass(frozen=True, slots=True)
class Clocked:
    """What a clock said of one candidate: the only part of a choice that may differ next time.

    Attributes:
        comparison: Against float on this machine, None where not asked or not possible.
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
        max_latency: Seconds at the 90th percentile on this machine, None for no limit.
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
