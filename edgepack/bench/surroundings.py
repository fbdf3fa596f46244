"""What else the machine is doing, as far as the kernel tells."""

import os
import re
from pathlib import Path

from edgepack.bench.record import Surroundings


def look(root: Path = Path("/")) -> Surroundings:
    """Read the load, the stolen time, the quota's stops and the frequency governor."""
    return Surroundings(
        load=_load(root), stolen=_stolen(root), throttled=_throttled(root), governor=_governor(root)
    )


def _load(root: Path) -> float | None:
    first = _text(root / "proc/loadavg").partition(" ")[0]
    return float(first) if first else None


def _stolen(root: Path) -> float | None:
    """Return the eighth number of the line ``cpu``, see proc_stat(5), in seconds."""
    found = re.search(r"(?m)^cpu +(?:\d+ +){7}(\d+)", _text(root / "proc/stat"))
    return int(found[1]) / os.sysconf("SC_CLK_TCK") if found else None


def _throttled(root: Path) -> int | None:
    """Read the control group of this process: version 2, else version 1."""
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        text = _text((groups / controllers).joinpath(path.strip("/"), "cpu.stat"))
        if found := re.search(r"(?m)^nr_throttled (\d+)", text):
            return int(found[1])
    return None


def _governor(root: Path) -> str | None:
    text = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return text.strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
