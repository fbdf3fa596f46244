"""``edgepack bench``."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.measured import Result
    from edgepack.bench.scenario import Scenario
    from edgepack.bench.subject import Subject

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
    against: Annotated[
        list[Path] | None,
        typer.Option(help="What an earlier -o wrote; repeat: a statement takes five."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON with raw samples.")] = None,
    form: Annotated[
        str,
        typer.Option("--format", help="Of -o: edgepack, pytest-benchmark, github-action-benchmark"),
    ] = "edgepack",
    html: Annotated[Path | None, typer.Option(help="A page to look at, one HTML file.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="What each operator takes, a Chrome trace; one model.")
    ] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> int:
    """Time models on this machine, or on devices; count what an emulated CPU executes.

    Each session runs in a process of its own; raw samples are kept. Percentiles are given where
    the samples support them. Exits with 6 where the machine changed too much while it measured;
    with --against, with 8 where a model is slower than in earlier runs, with 9 where that cannot
    be told.

    Example: edgepack bench dist/digits-x86_64.edgepack --threads 1
    """
    from edgepack.bench import baseline, formats
    from edgepack.bench import scenario as scenarios
    from edgepack.bench.verdict import Bars
    from edgepack.cli.bench import elsewhere, results, tuning

    formats.check(form)
    for path in filter(None, (out, html, profile)):
        _check(path)
    if (html or profile) and (tune or (on is not None and on != ["local"])):
        what = "--html and --profile show what this machine measured"
        raise RequestError("E-USAGE", what, hint="leave out --tune and --on")
    if profile and len(models) != 1:
        raise RequestError("E-USAGE", "--profile takes one model", hint="one command per model")
    if on is not None and on != ["local"]:
        others = {"time": time, "rate": rate, "tune": tune, "shape": shape, "against": against}
        elsewhere.alone(scenario, **others, format=form != "edgepack")
        limits = (threads, runs or _RUNS, _WARMUP if warmup is None else warmup)
        elsewhere.elsewhere(models, on, limits, out, json=json)
        return 0
    seconds = None if time is None else terminal.parse("--time", time, units.parse_duration, "10s")
    given = {} if rate is None else {"rate": rate}
    how = scenarios.make(scenario, runs=runs, seconds=seconds, warmup=warmup, **given)
    subjects = _subjects(models, threads, shape or ())
    if tune:
        if against:
            raise RequestError("E-USAGE", "--tune measures against the default", hint="drop one")
        return tuning.tune(subjects, seconds, json, quiet)
    earlier = baseline.find(against, subjects, how) if against else []
    found = _here(subjects, how, terminal.silence if quiet else terminal.progress, profile)
    said = [baseline.state(*pair, Bars()) for pair in zip(earlier, found, strict=False)]
    code = results.report(found, said, form, out, json=json)
    if html is not None:
        results.draw(found, html)
    return code


def _subjects(models: list[Path], threads: int | None, shapes: Sequence[str]) -> "list[Subject]":
    """Read all models before the first is measured."""
    from edgepack.bench import subject

    named = dict(terminal.shape(text) for text in shapes)
    return [subject.read(path, threads, named) for path in models]


def _here(
    subjects: "Iterable[Subject]",
    how: "Scenario",
    tell: Callable[[str], None],
    profile: Path | None,
) -> "list[Result]":
    """Measure until the end, or until somebody interrupts."""
    from edgepack.base.files import write_whole
    from edgepack.bench.measure import Measurement

    found: list[Result] = []
    for each in subjects:
        measurement = Measurement(each, how, tell, profile=profile is not None)
        found.append(measurement.measure())
        if profile is not None:
            write_whole(profile, measurement.trace)
        if found[-1].ended == "interrupted":
            break
    return found


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
