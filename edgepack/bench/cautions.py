"""What to know before a measurement is believed: a closed list, each with cause and remedy.

Two entries make a measurement invalid: then its percentiles describe no state of this machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepack.base import units
from edgepack.bench import disturbances
from edgepack.bench.measured import Result
from edgepack.bench.percentile import discarded, needed

_CROWD = 1.0  # processes that run or wait, per usable core
_PREEMPTED = 0.25
_DRIFT = 0.15
_SLOWED = 0.97  # of the frequency at the start
_FULL = 0.98  # of the time busy: from here on a queue only grows
_SHORT = 50e-6  # seconds; the call through Python takes some 5 us of it


@dataclass(frozen=True, slots=True)
class Caution:
    """One entry of the list.

    Attributes:
        name: Stable, for scripts.
        cause: What was seen.
        remedy: What to do about it.
        invalid: Whether the measurement describes nothing.
    """

    name: str
    cause: str
    remedy: str
    invalid: bool


def cautions(result: Result) -> tuple[Caution, ...]:
    """Return what holds of ``result``, in the order of the list."""
    found = ((name, seen(result), remedy) for name, seen, remedy in _LIST)
    return tuple(
        Caution(name, cause, cure, name in _INVALID) for name, cause, cure in found if cause
    )


def _ended(result: Result) -> str:
    return f"it ended early: {result.ended}" if result.ended else ""


def _drifting(result: Result) -> str:
    times = result.busy
    if result.scenario.drifts or len(times) < 30:
        return ""
    third = len(times) // 3
    change = float(np.median(times[-third:]) / np.median(times[:third])) - 1
    if abs(change) <= _DRIFT:
        return ""
    return (
        f"{result.clock} time changed by {units.percent(change)} from the first third to the last"
    )


def _overloaded(result: Result) -> str:
    runs = [each.samples for each in result.processes if each.samples.due]
    busy = sum(sum(each.wall) for each in runs)
    asked = sum(each.due[-1] for each in runs)
    if not runs or busy <= _FULL * asked:
        return ""
    return f"requests of {units.duration(busy)} of work arrived within {units.duration(asked)}"


def _few(result: Result) -> str:
    number = len(result.latency)
    if discarded(number, 99):
        return ""
    return f"{number} samples do not support p99, {needed(99)} would"


def _preempted(result: Result) -> str:
    switches = [n for each in result.processes for n in each.samples.switches]
    part = sum(n > 0 for n in switches) / max(len(switches), 1)
    return f"{units.percent(part, 0)} of the runs were interrupted" if part > _PREEMPTED else ""


def _crowded(result: Result) -> str:
    cores = result.machine.get("cores", 1)
    load = result.before.load or 0.0  # that afterwards is partly our own
    return f"the load was {load:.1f} on {cores} cores before" if load > _CROWD * cores else ""


def _stolen(result: Result) -> str:
    return disturbances.stolen(result.before, result.after, result.elapsed)


def _throttled(result: Result) -> str:
    return disturbances.throttled(result.before, result.after)


def _slowed(result: Result) -> str:
    first, last = (each.frequency for each in result.sensors)
    if not first or not last or last >= _SLOWED * first:
        return ""
    return f"the CPU ran at {units.percent(last / first, 0)} of its first frequency at the end"


def _governed(result: Result) -> str:
    return disturbances.governed(result.before)


def _short(result: Result) -> str:
    low = float(np.percentile(result.busy, 25)) if result.busy else _SHORT
    return (
        f"a run takes {units.duration(low)}, and the call is a part of it" if low < _SHORT else ""
    )


def _made_up(result: Result) -> str:
    return "the inputs are made up" if result.inputs == "made up" else ""


_INVALID = frozenset({"drifting", "overloaded"})

_LIST: tuple[tuple[str, Callable[[Result], str], str], ...] = (
    ("ended", _ended, "run it again"),
    ("drifting", _drifting, "let the machine cool down, or stop what began meanwhile"),
    ("overloaded", _overloaded, "ask for a lower --rate"),
    ("few", _few, "give more --runs and --time"),
    ("preempted", _preempted, "stop other work"),
    ("crowded", _crowded, "stop other work"),
    ("stolen", _stolen, "use a machine of your own"),
    ("throttled", _throttled, "raise the quota, or give fewer --threads"),
    ("slowed", _slowed, "let it cool down; --scenario sustained shows the curve"),
    ("governed", _governed, "cpupower frequency-set -g performance"),
    ("short", _short, "measure larger batches"),
    ("made_up", _made_up, "measure a bundle: it holds real samples"),
)
