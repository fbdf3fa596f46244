"""``edgepack bench --suite``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.cli import terminal
from edgepack.cli.bench import results

if TYPE_CHECKING:
    from edgepack.bench.estimate import Estimate
    from edgepack.bench.measured import Result
    from edgepack.bench.percentile import Percentile
    from edgepack.bench.remote import Remote
    from edgepack.bench.series import Cell


def suite(path: Path, files: results.Files, *, quiet: bool) -> "Outcome":
    """Measure every cell that no earlier start has; what is finished is written after each."""
    from edgepack.bench import kept, series
    from edgepack.bench import suite as suites

    tell = terminal.silence if quiet else terminal.progress
    tasks = suites.read(path)
    resumed = files.out if files.form == "edgepack" else None
    cells = kept.match(tasks, kept.load(resumed)) if resumed else [None] * len(tasks)
    if number := sum(each is not None for each in cells):
        tell(f"{number} of {len(tasks)} are in {resumed}; to measure them again, give another -o")
    tour = series.Series(tasks, tell, lambda found: _keep(found, files), cells)
    tour.check()
    whole = tour.measure()
    _draw(tour.all, files)
    if resumed and not whole:
        tell(f"the same command goes on from {resumed}")
    return Outcome(tour.all, whole)


def write(cells: "Sequence[Cell]", files: results.Files) -> None:
    """Write cells in a form, and their page."""
    _keep(cells, files)
    _draw(cells, files)


def _keep(cells: "Sequence[Cell]", files: results.Files) -> None:
    from edgepack.base.files import write_whole
    from edgepack.bench import formats, series

    if files.out is not None:
        own = files.form == "edgepack"
        found = series.results(cells)
        write_whole(files.out, series.encode(cells) if own else formats.encode(found, files.form))


def _draw(cells: "Sequence[Cell]", files: results.Files) -> None:
    from edgepack.base.files import write_whole
    from edgepack.bench import page, series

    if files.html is not None and (found := series.results(cells)):
        write_whole(files.html, page.measurements(found))


class Outcome:
    """The cells, and whether they are all."""

    def __init__(self, cells: "Sequence[Cell]", whole: bool) -> None:
        self.cells, self.whole = cells, whole

    def show(self, *, json: bool) -> int:
        """Print them, and return the exit code: the highest."""
        if json:
            terminal.show_json(_as_data(self.cells))
        else:
            heads = ("model", "device", "scenario", "n", "p50", "p90", "p99", "")
            terminal.table("", heads, [_row(each) for each in self.cells])
            for each in self.cells:
                if reason := _reason(each):
                    terminal.say(f"{each.model} on {each.device}, {each.scenario.name}: {reason}")
        if not self.whole:
            return results.INTERRUPTED
        return max(each.exit_code for each in self.cells)


def refuse(**others: object) -> None:
    """Refuse beside ``--suite`` what the file says."""
    if what := results.first(others):
        raise RequestError("E-USAGE", f"{what} is the suite's to say", hint="put it into the file")


def _as_data(cells: "Sequence[Cell]") -> dict[str, Any]:
    import msgspec

    from edgepack.bench.series import FORMAT
    from edgepack.bench.summary import as_data

    told = []
    for each in cells:
        plain = msgspec.to_builtins(msgspec.structs.replace(each, result=None))
        told.append({**plain, "result": as_data(each.result) if each.result else None})
    return {"format": FORMAT, "cells": told}


def _row(cell: "Cell") -> tuple[str, ...]:
    where = (cell.model, cell.device, cell.scenario.name)
    if cell.result is not None:
        return (*where, *_measured(cell.result))
    if cell.remote is not None:
        return (*where, *_remote(cell.remote))
    if cell.counts is not None:
        return (*where, "", "", "", "", _counted(cell.counts))
    return (*where, "", "", "", "", "skipped" if cell.fault is None else "error")


def _reason(cell: "Cell") -> str:
    """Say why a cell is empty, or describes nothing; nothing where it is well."""
    from edgepack.bench.summary import summarize

    if cell.fault is not None:
        return f"error[{cell.fault.code}]: {cell.fault.message}"
    if cell.result is not None:
        causes = [each.cause for each in summarize(cell.result).cautions if each.invalid]
        return f"invalid: {'; '.join(causes)}" if causes else ""
    return cell.remote.incomplete if cell.remote is not None else cell.skipped


def _measured(result: "Result") -> tuple[str, ...]:
    from edgepack.bench.summary import summarize

    summary = summarize(result)
    word = "" if summary.valid else "invalid"
    return (str(summary.number), *_cells(summary.latency), word)


def _remote(found: "Remote") -> tuple[str, ...]:
    wall = found.samples["wall"]
    return (
        str(len(wall)),
        *_cells(found.percentiles["wall"]),
        "incomplete" * bool(found.incomplete),
    )


def _counted(found: "Estimate") -> str:
    number, cost = units.count(found.counts.total), units.count(found.cycles)
    return f"{number} instructions, cost {cost}"


def _cells(found: "dict[str, Percentile | None]") -> tuple[str, ...]:
    return tuple(map(results.cell, found.values()))
