"""``edgepack bench --from``: what an earlier ``-o`` wrote, shown again; nothing is measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.base.errors import RequestError
from edgepack.cli.bench import elsewhere, results
from edgepack.cli.bench import suite as suites

if TYPE_CHECKING:
    from edgepack.bench.measured import Result


def again(path: Path, files: results.Files, profile: Path | None, *, json: bool) -> int:
    """Print what a file holds, write it in other forms, and return the code that it had."""
    from edgepack.bench import estimate, remote, series, stored

    found = stored.load(path)
    if isinstance(found, series.File):
        _trace(path, series.results(found.cells), profile)
        suites.write(found.cells, files)
        return suites.Outcome(found.cells, whole=True).show(json=json)
    if isinstance(found, remote.File | estimate.File):
        _only_tables(path, files, profile)
        if isinstance(found, estimate.File):
            elsewhere.counts(found, files.out, json=json)
            return 0
        return elsewhere.times(found, files.out, json=json)
    _trace(path, found.results, profile)
    return results.report(list(found.results), [], files, json=json)


def refuse(**others: object) -> None:
    """Refuse beside ``--from`` what is about measuring."""
    if what := results.first(others):
        raise RequestError(
            "E-USAGE", f"--from measures nothing, so {what} says nothing", hint="leave it out"
        )


def _only_tables(path: Path, files: results.Files, profile: Path | None) -> None:
    asked = {"html": files.html, "profile": profile, "format": files.form != "edgepack"}
    if what := results.first(asked):
        raise RequestError(
            "E-USAGE",
            f"{what} is about times that this machine measured, and {str(path)!r} holds none",
            hint=f"leave out {what}",
        )


def _trace(path: Path, found: "Sequence[Result]", profile: Path | None) -> None:
    """Write the operators of the one result that has some as a Chrome trace."""
    from edgepack.base.files import write_whole
    from edgepack.bench import operators

    if profile is None:
        return
    profiled = [each for each in found if each.operators]
    if len(profiled) != 1:
        raise RequestError(
            "E-USAGE",
            f"{str(path)!r} holds {len(profiled)} models with a profile, and a trace is of one",
            hint="measure it: edgepack bench MODEL --profile trace.json -o FILE",
        )
    write_whole(profile, operators.trace(profiled[0].operators))
