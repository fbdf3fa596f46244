"""The ways to ask a model for work, as data: what a child process does, and for how long.

Source: the scenarios of MLPerf Inference (SingleStream, Offline, Server), and two of the edge:
a cold start, and minutes of sustained work.
"""

from typing import ClassVar, TypeAlias

import msgspec

from edgepack.base.errors import RequestError, nearest


class _Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="scenario"):
    """Fields that all share.

    Attributes:
        processes: Fresh child processes, one session each: a session carries its own speed.
        runs: Timed runs in all, at most.
        seconds: Of measuring in all, at most.
        warmup: Untimed runs of each session.
    """

    processes: int = 5
    runs: int = 1000
    seconds: float = 10.0
    warmup: int = 10
    drifts: ClassVar[bool] = False  # whether a changing speed is the subject and no fault

    def __post_init__(self) -> None:
        if min(self.processes, self.runs) < 1 or self.warmup < 0 or not self.seconds > 0:
            raise ValueError("a scenario takes a process, a run, and some time")

    @property
    def name(self) -> str:
        """As on the command line."""
        return str(self.__struct_config__.tag)


class Single(_Scenario, frozen=True, tag="single"):
    """One request after the other, each timed alone."""


class Offline(_Scenario, frozen=True, tag="offline"):
    """All samples are there at once: throughput of back-to-back runs."""

    processes: int = 3


class Server(_Scenario, frozen=True, tag="server"):
    """Requests arrive when they like (Poisson) and queue; timed from their scheduled arrival.

    Attributes:
        rate: Requests per second; None for ``utilisation`` of what the model can do here.
        utilisation: Mean service time over mean time between arrivals.
        seed: Of the arrivals.
    """

    rate: float | None = None
    utilisation: float = 0.7
    seed: int = 0
    processes: int = 1  # a queue has one history

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.utilisation <= 0 or (self.rate is not None and self.rate <= 0):
            raise ValueError("the rate of requests is above 0")


class Cold(_Scenario, frozen=True, tag="cold"):
    """A new process each time: import of the runtime, opening, first inference."""

    processes: int = 20
    runs: int = 20
    seconds: float = 60.0
    warmup: int = 0


class Sustained(_Scenario, frozen=True, tag="sustained"):
    """One request after the other for minutes: what is left when the machine is warm."""

    processes: int = 1
    runs: int = 1_000_000
    seconds: float = 120.0
    drifts: ClassVar[bool] = True


Scenario: TypeAlias = Single | Offline | Server | Cold | Sustained

_KINDS: dict[str, type[Scenario]] = {
    "single": Single,
    "offline": Offline,
    "server": Server,
    "cold": Cold,
    "sustained": Sustained,
}

NAMES = tuple(_KINDS)


def make(name: str, **fields: float | None) -> Scenario:
    """Return the scenario of that name; fields that are None keep their default.

    Raises:
        RequestError: There is none of that name, or it has no such field.
    """
    if name not in _KINDS:
        raise RequestError("E-SCENARIO", f"no scenario {name!r}", hint=nearest(name, NAMES))
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        return msgspec.convert({"scenario": name, **given}, _KINDS[name], strict=True)
    except msgspec.ValidationError as error:
        hint = f"its fields are {', '.join(_KINDS[name].__struct_fields__)}"
        raise RequestError("E-SCENARIO", f"scenario {name!r}: {error}", hint=hint) from error
