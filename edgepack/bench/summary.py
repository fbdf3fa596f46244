"""From stored samples to what is said of them; nothing here measures."""

from typing import Any

import msgspec
import numpy as np

from edgepack.bench.cautions import Caution, cautions
from edgepack.bench.measured import Result
from edgepack.bench.percentile import Percentile, percentiles


class Summary(msgspec.Struct, frozen=True):
    """All that is derived from a measurement.

    Attributes:
        valid: Whether it describes a state of this machine.
        number: Runs, or starts.
        latency: p50, p90, p99 of what whoever asked waited, None where too few support one.
        cpu: The same of CPU time; empty for cold starts.
        throughput: Runs per second of timing; None for cold starts.
        interrupted: Fraction of runs with an involuntary context switch.
        cautions: What to know before it is believed.
    """

    valid: bool
    number: int
    latency: dict[str, Percentile | None]
    cpu: dict[str, Percentile | None]
    throughput: float | None
    interrupted: float | None
    cautions: tuple[Caution, ...]


def summarize(result: Result) -> Summary:
    """Derive everything."""
    found = cautions(result)
    runs = [each.samples for each in result.processes if each.samples.wall]
    took = sum(each.start[-1] + each.wall[-1] for each in runs)
    number = sum(len(each.wall) for each in runs)
    switches = [count > 0 for each in runs for count in each.switches]
    return Summary(
        valid=not any(each.invalid for each in found),
        number=len(result.latency),
        latency=percentiles(result.latency),
        cpu=percentiles([x for each in runs for x in each.cpu]) if runs else {},
        throughput=number / took if runs else None,
        interrupted=float(np.mean(switches)) if switches else None,
        cautions=found,
    )


def curve(result: Result, windows: int = 60) -> list[tuple[float, float]]:
    """Return the throttle curve: seconds, and the median time of a window over that of the first.

    Args:
        result: Of the scenario ``sustained``; the clock is wall time, which is what slows.
        windows: Of equal numbers of runs.
    """
    samples = result.processes[0].samples
    parts = np.array_split(np.asarray(samples.wall), min(windows, len(samples.wall)))
    starts = np.array_split(np.asarray(samples.start), len(parts))
    first = float(np.median(parts[0]))
    pairs = zip(starts, parts, strict=True)
    return [(float(at[0]), float(np.median(wall)) / first) for at, wall in pairs]


def as_data(result: Result) -> dict[str, Any]:
    """Return a measurement and what is derived from it, without the raw samples."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    del plain["processes"]
    derived = msgspec.to_builtins(summarize(result))
    more = {"curve": curve(result)} if result.scenario.drifts else {}
    return {**plain, **derived, **more}
