"""``edgepack bench``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.base.files import check_writable
from edgepack.cli import terminal
from edgepack.cli.bench import results
from edgepack.cli.bench.results import Files

if TYPE_CHECKING:
    from edgepack.bench.baseline import Statement
    from edgepack.bench.measured import Result
    from edgepack.bench.scenario import Scenario
    from edgepack.bench.subject import Subject
    from edgepack.devices import Timing

_RUNS, _WARMUP = 200, 20
"""On a device over ssh, where nothing else is asked for."""


def bench(
    models: Annotated[list[Path] | None, typer.Argument(help="Bundles, or model.onnx.")] = None,
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
    suite: Annotated[
        Path | None,
        typer.Option(help="TOML file: models x targets x devices x scenarios; as shown above."),
    ] = None,
    again: Annotated[
        Path | None, typer.Option("--from", help="Show what an earlier -o wrote; no MODEL.")
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

    A suite is a file of models x targets x devices x scenarios. A failed cell leaves the others,
    and the highest exit code is returned. Started again with the same -o, it measures what is
    missing or failed there:

    models = ["dist/digits-{target}.edgepack"]

    targets = ["x86_64", "arm64"]

    devices = ["local", "qemu:cortex-a53"]

    scenarios = ["single", {scenario = "cold", runs = 9}]

    Example: edgepack bench dist/digits-x86_64.edgepack --threads 1
    """
    from edgepack.bench import formats
    from edgepack.bench import scenario as scenarios
    from edgepack.cli.bench import elsewhere, tuning

    formats.check(form)
    for path in filter(None, (out, html, profile)):
        check_writable(path)
    single = None if scenario == "single" else scenario
    others = {"time": time, "rate": rate, "tune": tune, "shape": shape, "against": against}
    show = Show(Files(form, out, html), profile, json=json, quiet=quiet)
    more = {"on": on, "threads": threads, "runs": runs, "warmup": warmup, "scenario": single}
    if again is not None or suite is not None:
        return _from_file(again, suite, {"MODEL": models, **others, **more}, show)
    if not models:
        raise RequestError("E-USAGE", "bench takes a model", hint="edgepack bench model.onnx")
    away = on is not None and on != ["local"]
    if tune or away:
        _only_here({"--html": html, "--against": against, "--profile": profile})
    if on is not None and away and not tune:
        elsewhere.alone(scenario, **others, format=form != "edgepack")
        limits = (threads, runs or _RUNS, _WARMUP if warmup is None else warmup)
        return elsewhere.elsewhere(models, on, limits, out, json=json)
    seconds = None if time is None else terminal.parse("--time", time, units.parse_duration, "10s")
    given = {} if rate is None else {"rate": rate}
    how = scenarios.make(scenario, runs=runs, seconds=seconds, warmup=warmup, **given)
    wish = tuning.Wish(seconds, elsewhere.only_timing(on) if on is not None and away else None)
    subjects = _subjects(models, threads, shape or (), wish.device)
    if tune:
        return tuning.tune(subjects, wish, json=json, quiet=quiet)
    tell = terminal.silence if quiet else terminal.progress
    found, said = _measured(Work(subjects, how, tell, profile), against or ())
    code = results.report(found, said, show.files, json=json)
    return code if len(found) == len(subjects) else results.INTERRUPTED


class Show(NamedTuple):
    """How what was found is shown: files, the trace of a profile, and what is printed."""

    files: Files
    profile: Path | None
    json: bool
    quiet: bool


def _from_file(
    again: Path | None, suite: Path | None, others: Mapping[str, object], show: Show
) -> int:
    """Show what a file of measurements holds, or measure what a suite asks for."""
    from edgepack.cli.bench import again as stored
    from edgepack.cli.bench import suite as suites

    if again is not None:
        stored.refuse(**others, suite=suite)
        return stored.again(again, show.files, show.profile, json=show.json)
    assert suite is not None
    suites.refuse(**others, profile=show.profile)
    return suites.suite(suite, show.files, quiet=show.quiet).show(json=show.json)


def _only_here(given: dict[str, object]) -> None:
    """Refuse what is about times that this machine measured."""
    for option in (name for name, value in given.items() if value):
        what = f"{option} is about times that this machine measured"
        hint = "leave out --tune and --on"
        if option == "--against":
            hint += "; for a verdict on a device: edgepack compare BEFORE AFTER --on ssh://host"
        raise RequestError("E-USAGE", what, hint=hint)


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured here, how, who hears of it, and where the trace of a profile goes."""

    subjects: "list[Subject]"
    how: "Scenario"
    tell: Callable[[str], None]
    profile: Path | None

    def __post_init__(self) -> None:
        if self.profile and len(self.subjects) != 1:
            raise RequestError("E-USAGE", "--profile takes one model", hint="one command a model")


def _measured(work: Work, against: Sequence[Path]) -> "tuple[list[Result], list[Statement]]":
    """Measure, and hold what was found against earlier runs where there are any."""
    from edgepack.bench import baseline
    from edgepack.bench.verdict import Bars

    earlier = baseline.find(against, work.subjects, work.how) if against else []
    found = _here(work)
    return found, [baseline.state(*pair, Bars()) for pair in zip(earlier, found, strict=False)]


def _subjects(
    models: list[Path], threads: int | None, shapes: Sequence[str], device: "Timing | None"
) -> "list[Subject]":
    """Read all models before the first is measured."""
    from edgepack.bench import subject

    named = dict(terminal.shape(text) for text in shapes)
    return [subject.read(path, threads, named, device) for path in models]


def _here(work: Work) -> "list[Result]":
    """Measure until the end, or until somebody interrupts."""
    from edgepack.base.files import write_whole
    from edgepack.bench.measure import Measurement

    found: list[Result] = []
    for each in work.subjects:
        measurement = Measurement(each, work.how, work.tell, profile=work.profile is not None)
        try:
            found.append(measurement.measure())
        except KeyboardInterrupt:
            if not found:
                raise
            break
        if work.profile is not None:
            write_whole(work.profile, measurement.trace)
        if found[-1].ended == "interrupted":
            break
    return found
