"""``edgepack bench``."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.base import units
from edgepack.base.errors import MachineError, RequestError
from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.measured import Result
    from edgepack.bench.percentile import Percentile
    from edgepack.bench.scenario import Scenario
    from edgepack.bench.subject import Subject
    from edgepack.bench.summary import Summary
    from edgepack.bench.tuning import Tuned

_INVALID = 6
_TUNING = 60.0
"""Seconds that tuning may take."""

_INTERRUPTED = 130
_RUNS, _WARMUP = 200, 20
"""On a device over ssh, where nothing else is asked for."""


def bench(
    models: Annotated[list[Path], typer.Argument(help="Bundles, or model.onnx.")],
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="ssh://[user@]host to time there, repeat for several; qemu:CPU to count."
        ),
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="single, offline, server, cold, sustained.")
    ] = "single",
    threads: Annotated[
        int | None, typer.Option(min=0, help="0: the usable cores, at most 4.")
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Timed runs at most.")] = None,
    time: Annotated[str | None, typer.Option(help="Time to measure at most, 10s.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Untimed runs before.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Of a server, per second; else for 70 % use.")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Find the fastest session options; --time: 60s.")
    ] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help="An input's shape: x=1x3x224x224.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON with raw samples.")] = None,
    form: Annotated[
        str,
        typer.Option("--format", help="Of -o: edgepack, pytest-benchmark, github-action-benchmark"),
    ] = "edgepack",
    html: Annotated[Path | None, typer.Option(help="A page to look at, one HTML file.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> int:
    """Time models on this machine, or on devices; count what an emulated CPU executes.

    Each session runs in a process of its own; raw samples are kept. Percentiles are given where
    the samples support them. Exits with 6 where the machine changed too much while it measured.

    Example: edgepack bench dist/digits-x86_64.edgepack --threads 1
    """
    from edgepack.bench import formats
    from edgepack.bench import scenario as scenarios

    formats.check(form)
    for path in filter(None, (out, html)):
        _check(path)
    if html is not None and (tune or (on is not None and on != ["local"])):
        what = "a page shows what this machine measured, without --tune and --on"
        raise RequestError("E-USAGE", what, hint="leave out --html")
    if on is not None and on != ["local"]:
        _alone(scenario, time=time, rate=rate, tune=tune, shape=shape, format=form != "edgepack")
        limits = (threads, runs or _RUNS, _WARMUP if warmup is None else warmup)
        _elsewhere(models, on, limits, out, json=json)
        return 0
    seconds = None if time is None else terminal.parse("--time", time, units.parse_duration, "10s")
    given = {} if rate is None else {"rate": rate}
    how = scenarios.make(scenario, runs=runs, seconds=seconds, warmup=warmup, **given)
    subjects = _subjects(models, threads, shape or ())
    if tune:
        return _tune(subjects, seconds, json, quiet)
    results = _here(subjects, how, terminal.silence if quiet else terminal.progress)
    code = _report(results, form, out, json=json)
    if html is not None:
        _draw(results, html)
    return code


def _draw(results: "list[Result]", path: Path) -> None:
    from edgepack.base.files import write_whole
    from edgepack.bench import page

    write_whole(path, page.measurements(results))


def _subjects(models: list[Path], threads: int | None, shapes: Sequence[str]) -> "list[Subject]":
    """Read all models before the first is measured."""
    from edgepack.bench import subject

    named = dict(terminal.shape(text) for text in shapes)
    return [subject.read(path, threads, named) for path in models]


def _here(
    subjects: "Iterable[Subject]", how: "Scenario", tell: Callable[[str], None]
) -> "list[Result]":
    """Measure until the end, or until somebody interrupts."""
    from edgepack.bench.measure import Measurement

    results: list[Result] = []
    for each in subjects:
        results.append(Measurement(each, how, tell).measure())
        if results[-1].ended == "interrupted":
            break
    return results


def _report(results: "list[Result]", form: str, out: Path | None, *, json: bool) -> int:
    """Write and print what was measured, and return the exit code."""
    from edgepack.base.files import write_whole
    from edgepack.bench import formats, measured
    from edgepack.bench.summary import as_data, summarize

    if out is not None:
        write_whole(out, formats.encode(results, form))
    if json:
        data = {"format": measured.FORMAT, "results": [as_data(each) for each in results]}
        terminal.show_json(data)
    else:
        _show(results)
    if results[-1].ended == "interrupted":
        return _INTERRUPTED
    return 0 if all(summarize(each).valid for each in results) else _INVALID


def _elsewhere(
    models: list[Path],
    on: list[str],
    limits: tuple[int | None, int, int],
    out: Path | None,
    *,
    json: bool,
) -> None:
    """Count on an emulated CPU, or time on devices over ssh."""
    if on[0].startswith("qemu:"):
        _count(models, _only(on), out, json=json)
    else:
        _there(models, on, limits, out, json=json)


def _alone(scenario: str, **others: object) -> None:
    """Refuse on a device what only this machine offers."""
    given = [name for name, value in others.items() if value]
    if scenario != "single" or given:
        what = f"--{given[0]}" if given else f"--scenario {scenario}"
        raise RequestError("E-USAGE", f"{what} is for this machine only", hint="leave out --on")


def _only(on: list[str]) -> str:
    if len(on) > 1:
        raise RequestError("E-USAGE", "counts are of one CPU at a time", hint="give one --on")
    return on[0]


def _there(
    models: list[Path],
    on: list[str],
    limits: tuple[int | None, int, int],
    out: Path | None,
    *,
    json: bool,
) -> None:
    """Time on devices over ssh: ``limits`` are threads, timed runs, untimed runs before."""
    import msgspec

    from edgepack.base.files import write_whole
    from edgepack.bench import remote

    threads, runs, warmup = limits
    opened = [remote.open_timing(name) for name in on]
    results = [
        remote.measure(path, device, threads=threads, runs=runs, warmup=warmup)
        for device, path in itertools.product(opened, models)
    ]
    record = {"format": "edgepack-devices/1", "results": results}
    if out is not None:
        write_whole(out, msgspec.json.encode(record))
    if json:
        terminal.show_json(record)
    else:
        rows = [
            (each.device, each.model, str(each.threads), clock, *map(_cell, found.values()))
            for each in results
            for clock, found in each.percentiles.items()
        ]
        terminal.table("", ("device", "model", "threads", "clock", "p50", "p90", "p99"), rows)
    for each in results:
        if each.incomplete:
            raise MachineError("E-LOST", each.incomplete, hint="what was measured is reported")


def _count(models: list[Path], on: str, out: Path | None, *, json: bool) -> None:
    """Show instructions, misses and the estimated cost of each model on an emulated CPU."""
    import msgspec

    from edgepack.base.files import write_whole
    from edgepack.bench.estimate import estimate, facts, read
    from edgepack.devices import Counting, open_device

    device = open_device(on)
    if not isinstance(device, Counting):
        raise RequestError("E-DEVICE", f"{on!r} cannot count", hint="name a qemu:CPU")
    cost = facts(on.partition(":")[2])
    found = {str(path): estimate(device, *read(path), cost) for path in models}
    record = {"format": "edgepack-counts/1", "device": on, "results": found}
    if out is not None:
        write_whole(out, msgspec.json.encode(record))
    if json:
        terminal.show_json(record)
        return
    columns = ("loads", "l1_misses", "l2_misses")
    rows = [
        (
            name,
            units.count(each.counts.total),
            *(units.count(each.counts.memory[column]) for column in columns),
            units.count(each.cycles),
        )
        for name, each in found.items()
    ]
    heads = ("model", "instructions", "loads", "L1 misses", "L2 misses", "estimated cost")
    terminal.table(f"on {on}; the cost ranks models of one precision", heads, rows)


def _tune(subjects: "Iterable[Subject]", seconds: float | None, json: bool, quiet: bool) -> int:
    from edgepack.bench.doubts import doubts
    from edgepack.bench.tuning import Search, tune

    tell = terminal.silence if quiet else terminal.progress
    search = Search(seconds or _TUNING)
    found = [(each, tune(each, search, tell)) for each in subjects]
    if json:
        terminal.show_json(
            {
                "format": "edgepack-tuning/1",
                "results": [
                    {
                        "model": each.path,
                        "session": tuned.session,
                        "verdict": tuned.verdict,
                        "rounds": tuned.rounds,
                    }
                    for each, tuned in found
                ],
            }
        )
        return 0
    rows = [(each.path, *map(str, item)) for each, t in found for item in t.session.items()]
    terminal.table("", ("model", "session option", "value"), rows)
    for each, tuned in found:
        terminal.say(f"{each.path}: {_about(tuned)}")
        for doubt in doubts(tuned.run) if tuned.run else ():
            terminal.say(f"doubt: {doubt.cause}; {doubt.remedy}")
    return 0


def _about(tuned: "Tuned") -> str:
    if tuned.verdict is None:
        return "the default is kept: nothing was faster"
    low, high = tuned.verdict.interval
    took = f"{tuned.verdict.ratio:.4f} [{low:.4f}, {high:.4f}] of the time of the default"
    if tuned.verdict.decision == "faster":
        return f"takes {took}"
    return f"the default is kept: the best other took {took}, {tuned.verdict.decision}"


def _show(results: "list[Result]") -> None:
    from edgepack.bench.summary import summarize

    summaries = [summarize(each) for each in results]
    rows = [row for pair in zip(results, summaries, strict=True) for row in _rows(*pair)]
    terminal.table("", ("model", "threads", "clock", "n", "p50", "p90", "p99"), rows)
    for result, summary in zip(results, summaries, strict=True):
        terminal.say(f"{result.model}: {_facts(result, summary)}")
        for each in summary.cautions:
            word = "invalid" if each.invalid else "caution"
            terminal.say(f"{word}: {each.cause}; {each.remedy}")


def _rows(result: "Result", summary: "Summary") -> list[tuple[str, ...]]:
    threads, number = str(result.options.threads), str(summary.number)
    clocks = (("latency", summary.latency), ("cpu", summary.cpu))
    return [
        (result.model, threads, clock, number, *map(_cell, found.values()))
        for clock, found in clocks
        if found
    ]


def _cell(found: "Percentile | None") -> str:
    return "n/a" if found is None else units.duration(found.value)


def _facts(result: "Result", summary: "Summary") -> str:
    from edgepack.bench.summary import curve

    facts = [result.scenario.name]
    if summary.throughput is not None:
        facts.append(f"{summary.throughput:.4g} runs/s")
    if result.rate is not None:
        facts.append(f"{result.rate:.4g} requests/s arrive")
    if result.scenario.drifts:
        facts.append(f"ends at {curve(result)[-1][1]:.3f} of its first time")
    if result.memory is not None:
        facts.append(f"memory {units.size(result.memory['model'])}")
    energy = "n/a"
    if result.joules is not None and summary.number:
        energy = f"{result.joules / summary.number:.3g} J/run"
    return ", ".join([*facts, f"energy {energy}"])


def _check(out: Path) -> None:
    try:
        folder = out.is_dir()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            "E-PATH", f"cannot write {str(out)!r}: {reason}", hint="choose another -o"
        ) from error
    if folder:
        raise RequestError("E-PATH", f"the output {str(out)!r} is a directory", hint="give a file")
