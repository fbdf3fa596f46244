"""What disturbed a measurement, as sentences: the kernel's counts before and after, compared."""

from edgepack.base import units
from edgepack.bench.record import Surroundings

_STOLEN = 0.02  # of one core


def stolen(before: Surroundings, after: Surroundings, elapsed: float) -> str:
    """Say how much of a core the hypervisor took in ``elapsed`` seconds; nothing where little."""
    if before.stolen is None or after.stolen is None:
        return ""
    part = (after.stolen - before.stolen) / max(elapsed, 1.0)
    return f"the hypervisor took {units.percent(part)} of a core" if part > _STOLEN else ""


def throttled(before: Surroundings, after: Surroundings) -> str:
    """Say how often the quota stopped the process; nothing where never."""
    stops = (after.throttled or 0) - (before.throttled or 0)
    return f"the quota of the control group stopped it {stops} times" if stops > 0 else ""


def governed(before: Surroundings) -> str:
    """Name a frequency governor that lets the speed change; nothing where none is known to."""
    if before.governor in {None, "performance"}:
        return ""
    return f"the CPU frequency follows the governor {before.governor!r}"
