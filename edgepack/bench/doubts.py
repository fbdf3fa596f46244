"""What makes a comparison doubtful: a closed list, each entry with its cause and its remedy.

A doubt never changes a verdict: disturbances widen the interval, and a wide one is inconclusive.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepack.base import units
from edgepack.bench import disturbances
from edgepack.bench.record import Run

_CROWD = 1.0  # processes that run or wait, per usable core: from here on some must wait
_PREEMPTED = 0.25
_SHORT = 50e-6  # the call through Python takes some 5 us of it
_DRIFT = 0.15


@dataclass(frozen=True, slots=True)
class Doubt:
    """One entry of the list.

    Attributes:
        name: Stable, for scripts.
        cause: What was seen.
        remedy: What to do about it.
    """

    name: str
    cause: str
    remedy: str


def doubts(run: Run) -> tuple[Doubt, ...]:
    """Return what holds of ``run``, in the order of the list."""
    found = ((name, seen(run), remedy) for name, seen, remedy in _LIST)
    return tuple(Doubt(name, cause, remedy) for name, cause, remedy in found if cause)


def _cut(run: Run) -> str:
    done = len(run.processes)
    if done in run.plan.looks:
        return ""
    return f"it ended after {done} of {run.plan.looks[-1]} processes, between two planned looks"


def _preempted(run: Run) -> str:
    switches = [n for pair in run.pairs for side in (pair.a, pair.b) for n in side.switches]
    part = sum(n > 0 for n in switches) / max(len(switches), 1)
    if part <= _PREEMPTED:
        return ""
    return f"{units.percent(part, 0)} of the timed runs were interrupted"


def _crowded(run: Run) -> str:
    if run.realtime:  # the others wait
        return ""
    cores = run.machine.get("cores", 1)
    load = max(run.before.load or 0.0, run.after.load or 0.0)
    return f"the load was {load:.1f} on {cores} cores" if load > _CROWD * cores else ""


def _stolen(run: Run) -> str:
    return disturbances.stolen(run.before, run.after, run.elapsed)


def _throttled(run: Run) -> str:
    return disturbances.throttled(run.before, run.after)


def _governed(run: Run) -> str:
    return disturbances.governed(run.before)


def _short(run: Run) -> str:
    low = min(side.low(run.clock) for pair in run.pairs for side in (pair.a, pair.b))
    if low >= _SHORT:
        return ""
    return f"a run takes {units.duration(low)}, and the call is a part of it"


def _drifting(run: Run) -> str:
    lows = [pair.a.low(run.clock) for pair in run.pairs]
    part = max(len(lows) // 3, 1)
    change = float(np.median(lows[-part:]) / np.median(lows[:part])) - 1
    if abs(change) <= _DRIFT:
        return ""
    return f"A's own time changed by {units.percent(change)} from the first third to the last"


def _made_up(run: Run) -> str:
    return "the inputs are made up" if run.inputs == "made up" else ""


_LIST: tuple[tuple[str, Callable[[Run], str], str], ...] = (
    ("cut", _cut, "give a larger --budget"),
    ("preempted", _preempted, "stop other work, or time in bursts with --realtime"),
    ("crowded", _crowded, "stop other work, or time in bursts with --realtime"),
    ("stolen", _stolen, "use a machine of your own"),
    ("throttled", _throttled, "raise the quota, or give fewer --threads"),
    ("governed", _governed, "cpupower frequency-set -g performance"),
    ("short", _short, "compare larger batches"),
    ("drifting", _drifting, "let the machine cool down, or stop what began meanwhile"),
    ("made_up", _made_up, "compare bundles: they hold real samples"),
)
