"""Facts about the machine at hand, and what it lacks to run a bundle."""

import functools
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edgepack.spec.manifest import Runtime
from edgepack.spec.target import lacking

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""What other systems call an architecture -> the name that targets use."""

_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
MOST_THREADS = 4  # small models gain nothing from more, and lose to hand-over between cores


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether a bundle runs here.

    Attributes:
        arch: ``x86_64``, ``aarch64`` ...
        features: CPU features in the kernel's spelling, of all cores; None where no kernel tells.
        cores: Cores this process may use.
        libc: ``glibc 2.36``; empty where it is another one or unknown.
        onnxruntime: Version of the installed runtime; None where there is none.
    """

    arch: str
    features: frozenset[str] | None
    cores: int
    libc: str
    onnxruntime: str | None


@functools.cache
def here() -> Machine:
    """Describe this machine, without importing the runtime."""
    return Machine(arch(), features(), usable_cores(), _libc(), runtime_version())


def arch() -> str:
    """Return the architecture by the name that targets use."""
    name = platform.machine().lower()
    return ARCHITECTURES.get(name, name)


def features(root: Path = Path("/")) -> frozenset[str] | None:
    """Return the CPU features that every core has; None where ``/proc/cpuinfo`` does not tell."""
    lines = re.findall(r"(?mi)^(?:flags|features)[ \t]*:(.*)$", _text(root / "proc/cpuinfo"))
    if not lines:
        return None
    return frozenset.intersection(*(frozenset(line.split()) for line in set(lines)))


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores that the affinity mask and the control group's quota leave, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    # Whole cores: a thread beyond the quota is stopped for the rest of each period.
    return max(1, min(cores, int(min(_quotas(root), default=cores))))


def quota(root: Path = Path("/")) -> float | None:
    """Return the control group's CPU quota in cores; None where there is none."""
    return min(_quotas(root), default=None)


def threads() -> int:
    """Return the threads to use where the manifest leaves it open: usable cores, at most four."""
    return min(usable_cores(), MOST_THREADS)


def runtime_version() -> str | None:
    """Return the version of the installed ONNX Runtime, whichever wheel brought it."""
    if (loaded := sys.modules.get("onnxruntime")) is not None:
        return str(loaded.__version__)
    from importlib import metadata  # 0.03 s of CPU

    for name in _WHEELS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def missing(runtime: Runtime, machine: Machine | None = None) -> str | None:
    """Say what a machine lacks to run a bundle, or None.

    Args:
        runtime: What the bundle needs.
        machine: The machine; None for this one, whose execution providers are looked at too.
    """
    at = machine or here()
    if at.arch != runtime.arch:
        return f"it needs a CPU of type {runtime.arch!r}, this one is {at.arch!r}"
    absent = () if at.features is None else lacking(runtime.cpu_features, at.features)
    if absent:
        return f"it needs the CPU feature {', '.join(map(repr, absent))}, which this CPU lacks"
    if at.onnxruntime is None:
        return "it needs onnxruntime, which is not installed"
    if _numbers(at.onnxruntime) < _numbers(runtime.min_onnxruntime):
        return f"it needs onnxruntime {runtime.min_onnxruntime}, here is {at.onnxruntime}"
    return _missing_provider(runtime.provider) if machine is None else None


def _missing_provider(provider: str) -> str | None:
    if provider == "CPUExecutionProvider":  # every build has it: no need to import the runtime
        return None
    from edgepack.runtime.session import providers

    there = providers()
    if provider in there:
        return None
    return f"it needs the runtime's {provider!r}, here are {', '.join(there)}"


def _quotas(root: Path) -> list[float]:
    """Return the CPU quotas, in cores, of the control groups around this process."""
    mounts = root / "sys/fs/cgroup"
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            found += [_v2(folder) for folder in _chain(mounts, path)]
        elif "cpu" in controllers.split(","):
            found += [_v1(folder) for folder in _chain(mounts / controllers, path)]
    return [quota for quota in found if quota is not None]


def _chain(mount: Path, path: str) -> list[Path]:
    """Return the group's folder and those above it: a parent's quota binds its children."""
    parts = [part for part in path.split("/") if part not in {"", ".."}]
    return [mount.joinpath(*parts[:end]) for end in range(len(parts) + 1)]


def _v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _v1(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Divide two counts of microseconds; "max", -1 and nothing at all mean no quota."""
    if quota.strip().isdigit() and period.strip().isdigit() and int(period):
        return int(quota) / int(period)
    return None


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
