"""What ``edgepack bench`` measured here: files, a page, and tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgepack.base import units
from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.baseline import Statement
    from edgepack.bench.measured import Result
    from edgepack.bench.percentile import Percentile
    from edgepack.bench.summary import Summary

INTERRUPTED = 130
_INVALID = 6
_CODES = {"slower": 8, "inconclusive": 9}


def _show(results: "list[Result]") -> None:
    from edgepack.bench.summary import summarize

    summaries = [summarize(each) for each in results]
    rows = [row for pair in zip(results, summaries, strict=True) for row in _rows(*pair)]
    terminal.table("", ("model", "threads", "clock", "n", "p50", "p90", "p99"), rows)
    for result, summary in zip(results, summaries, strict=True):
        terminal.say(f"{result.model}: {_facts(result, summary)}")
        _operators(result)
        for each in summary.cautions:
            word = "invalid" if each.invalid else "caution"
            terminal.say(f"{word}: {each.cause}; {each.remedy}")


def _operators(result: "Result") -> None:
    """Print where time goes; the profiler slows what it looks at, so shares count."""
    from edgepack.bench import operators

    if not result.operators:
        return
    found = operators.by_type(result.operators)
    total = sum(seconds for _, _, seconds in found) or 1.0
    rows = [
        (op, str(count), units.duration(seconds), units.percent(seconds / total))
        for op, count, seconds in found
    ]
    terminal.table("", ("operator", "nodes", "time", "share"), rows)


def _rows(result: "Result", summary: "Summary") -> list[tuple[str, ...]]:
    threads, number = str(result.options.threads), str(summary.number)
    clocks = (("latency", summary.latency), ("cpu", summary.cpu))
    return [
        (result.model, threads, clock, number, *map(cell, found.values()))
        for clock, found in clocks
        if found
    ]


def cell(found: "Percentile | None") -> str:
    """Return a percentile as text."""
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


class Files(NamedTuple):
    """What to write: the raw samples in a form, and a page; None for neither."""

    form: str
    out: Path | None
    html: Path | None


def first(given: Mapping[str, object]) -> str:
    """Return the first of these options that was given, as users type it, or nothing."""
    name = next((name for name, value in given.items() if _asked(value)), "")
    return name if name in {"", "MODEL"} else f"--{name}"


def _asked(value: object) -> bool:
    return value is not None and value is not False and value != []


def report(found: "list[Result]", said: "list[Statement]", files: Files, *, json: bool) -> int:
    """Write and print what was measured, and what it says beside earlier runs; return the code."""
    from edgepack.base.files import write_whole
    from edgepack.bench import formats, measured, page
    from edgepack.bench.summary import as_data, summarize

    if files.out is not None:
        write_whole(files.out, formats.encode(found, files.form))
    if files.html is not None:
        write_whole(files.html, page.measurements(found))
    if json:
        data = {"format": measured.FORMAT, "results": [as_data(each) for each in found]}
        terminal.show_json({**data, "against": said} if said else data)
    else:
        _show(found)
        for result, statement in zip(found, said, strict=False):
            terminal.say(f"{result.model}: {_sentence(statement)}")
    if found[-1].ended == "interrupted":
        return INTERRUPTED
    if not all(summarize(each).valid for each in found):
        return _INVALID
    return max((_CODES.get(each.decision, 0) for each in said), default=0)


def _sentence(said: "Statement") -> str:
    """Say how a model does beside earlier runs, and what would say more."""
    word = said.decision if said.decision == "no difference" else f"{said.decision} than it was"
    if said.decision == "inconclusive":
        word = f"inconclusive, {said.reason or 'runs differ more than that'}"
    found = f"{said.ratio:.4f} of the time of {said.runs} earlier runs"
    if said.interval is not None:
        low, high = said.interval
        found += f", {units.percent(said.confidence, 0)} interval [{low:.4f}, {high:.4f}]"
    more = "; for a verdict: edgepack compare" if said.decision == "inconclusive" else ""
    return f"{word}: {found}{more}"
