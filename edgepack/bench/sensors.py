"""What the machine tells of itself while it works: frequency, temperature, energy, memory."""

import contextlib
import os
import re
import sys
from pathlib import Path

import msgspec

_PACKAGE = re.compile(r"intel-rapl:\d+")
"""Whole sockets; zones below them (``intel-rapl:0:0``) would count twice."""


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One look at the sensors; None where there is none.

    Attributes:
        at: Seconds since the first look.
        frequency: Hertz, mean over cores.
        temperature: Degrees Celsius of the hottest zone.
    """

    at: float
    frequency: float | None
    temperature: float | None


def read(at: float, root: Path = Path("/")) -> Reading:
    """Look at the sensors."""
    return Reading(round(at, 3), frequency(root), temperature(root))


def frequency(root: Path = Path("/")) -> float | None:
    """Return the mean frequency of the cores in hertz, as the governor reports it."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    found = [value * 1e3 for file in files if (value := _number(file)) is not None]
    return sum(found) / len(found) if found else None


def temperature(root: Path = Path("/")) -> float | None:
    """Return the temperature of the hottest thermal zone, in degrees Celsius."""
    files = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    found = [value / 1e3 for file in files if (value := _number(file)) is not None]
    return max(found, default=None)


def energy(root: Path = Path("/")) -> dict[str, tuple[float, float]] | None:
    """Return joules so far, and where the counter wraps, of each socket; None where untold.

    Source: Linux, Documentation/power/powercap: ``energy_uj`` and ``max_energy_range_uj``.
    """
    found = {}
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        now, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
        if _PACKAGE.fullmatch(zone.name) and now is not None and most is not None:
            found[zone.name] = (now * 1e-6, most * 1e-6)
    return found or None


def joules(
    before: dict[str, tuple[float, float]] | None, after: dict[str, tuple[float, float]] | None
) -> float | None:
    """Return the joules between two looks; None where either is missing or they do not match."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    spent = ((after[zone][0] - before[zone][0], before[zone][1]) for zone in before)
    return sum(used if used >= 0 else used + wrap for used, wrap in spent)


def high_water(root: Path = Path("/")) -> int | None:
    """Return the most bytes of memory that this process has had, so far."""
    if found := re.search(r"(?m)^VmHWM:\s+(\d+) kB", _text(root / "proc/self/status")):
        return int(found[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return None


def cpu_model(root: Path = Path("/")) -> str:
    """Return the name of the CPU, or of the board where the kernel names no CPU."""
    if found := re.search(r"(?m)^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo")):
        return found[1].strip()
    return _text(root / "proc/device-tree/model").strip("\0\n ")


def affinity() -> list[int]:
    """Return the cores that this process may use; empty where nobody tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
