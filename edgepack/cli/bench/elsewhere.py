"""``edgepack bench --on``: times on devices over ssh, counts on emulated CPUs."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.base import units
from edgepack.base.errors import MachineError, RequestError
from edgepack.cli import terminal
from edgepack.cli.bench.results import cell

if TYPE_CHECKING:
    from edgepack.bench.estimate import File as CountedFile
    from edgepack.bench.remote import File as TimedFile
    from edgepack.devices import Timing

Limits = tuple[int | None, int, int]
"""Threads, timed runs, untimed runs before."""


def elsewhere(
    models: list[Path], on: list[str], limits: Limits, out: Path | None, *, json: bool
) -> int:
    """Count on an emulated CPU, or time on devices over ssh; return the exit code."""
    if on[0].startswith("qemu:"):
        _count(models, _only(on), out, json=json)
        return 0
    return _there(models, on, limits, out, json=json)


def alone(scenario: str, **others: object) -> None:
    """Refuse on a device what only this machine offers."""
    given = [name for name, value in others.items() if value]
    if scenario != "single" or given:
        what = f"--{given[0]}" if given else f"--scenario {scenario}"
        raise RequestError("E-USAGE", f"{what} is for this machine only", hint="leave out --on")


def only_timing(on: list[str]) -> "Timing":
    """Open the one device to tune on."""
    from edgepack.bench import remote

    if len(on) > 1:
        raise RequestError("E-USAGE", "options are tuned on one device at a time", hint="one --on")
    return remote.open_timing(on[0])


def _only(on: list[str]) -> str:
    if len(on) > 1:
        raise RequestError("E-USAGE", "counts are of one CPU at a time", hint="give one --on")
    return on[0]


def _there(
    models: list[Path], on: list[str], limits: Limits, out: Path | None, *, json: bool
) -> int:
    """Time on devices over ssh."""
    from edgepack.bench import remote

    threads, runs, warmup = limits
    opened = [remote.open_timing(name) for name in on]
    found = tuple(
        remote.measure(path, device, threads=threads, runs=runs, warmup=warmup)
        for device, path in itertools.product(opened, models)
    )
    return times(remote.File(found), out, json=json)


def times(found: "TimedFile", out: Path | None, *, json: bool) -> int:
    """Write and print what devices over ssh measured; return the code, 6 where one was lost."""
    import msgspec

    _write(found, out)
    reasons = [each.incomplete for each in found.results if each.incomplete]
    lost = [MachineError("E-LOST", it, hint="what was measured is reported") for it in reasons]
    if json:
        told = {"error": terminal.as_data(lost[0])} if lost else {}
        terminal.show_json({**msgspec.to_builtins(found), **told})
    else:
        rows = [
            (each.device, each.model, str(each.threads), clock, *map(cell, told.values()))
            for each in found.results
            for clock, told in each.percentiles.items()
        ]
        terminal.table("", ("device", "model", "threads", "clock", "p50", "p90", "p99"), rows)
    for error in lost:
        terminal.complain(error)
    return lost[0].exit_code if lost else 0


def _count(models: list[Path], on: str, out: Path | None, *, json: bool) -> None:
    """Show instructions, misses and the estimated cost of each model on an emulated CPU."""
    from edgepack.bench.estimate import File, estimate, facts, read
    from edgepack.devices import Counting, open_device

    device = open_device(on)
    if not isinstance(device, Counting):
        raise RequestError("E-DEVICE", f"{on!r} cannot count", hint="name a qemu:CPU")
    cost = facts(on.partition(":")[2])
    found = {str(path): estimate(device, *read(path), cost) for path in models}
    counts(File(on, found), out, json=json)


def counts(found: "CountedFile", out: Path | None, *, json: bool) -> None:
    """Write and print what an emulated CPU counted."""
    _write(found, out)
    if json:
        terminal.show_json(found)
        return
    columns = ("loads", "l1_misses", "l2_misses")
    rows = [
        (
            name,
            units.count(each.counts.total),
            *(units.count(each.counts.memory[column]) for column in columns),
            units.count(each.cycles),
        )
        for name, each in found.results.items()
    ]
    heads = ("model", "instructions", "loads", "L1 misses", "L2 misses", "estimated cost")
    terminal.table(f"on {found.device}; the cost ranks models of one precision", heads, rows)


def _write(found: object, out: Path | None) -> None:
    import msgspec

    from edgepack.base.files import write_whole

    if out is not None:
        write_whole(out, msgspec.json.encode(found) + b"\n")
