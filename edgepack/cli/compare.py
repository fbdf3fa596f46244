"""``edgepack compare``."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.base import units
from edgepack.base.errors import MachineError, ModelError, RequestError
from edgepack.base.files import check_writable
from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.contest import Contest
    from edgepack.bench.findings import Findings
    from edgepack.bench.record import Run
    from edgepack.bench.rivals import Rivals
    from edgepack.bench.verdict import Bars
    from edgepack.devices import Timing

_CODES = {"slower": 8, "inconclusive": 9}
_SENTENCES = {
    "slower": "B is slower",
    "no difference": "no difference",
    "faster": "B is faster",
    "inconclusive": "inconclusive: give more time, or a calmer machine",
}


def compare(
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="A B", help="Bundles, or model.onnx.")
    ] = None,
    on: Annotated[str, typer.Option(help="The device.")] = "local",
    tolerate: Annotated[str, typer.Option(help="A slow-down that nobody minds.")] = "0.5%",
    detect: Annotated[str, typer.Option(help="A slow-down that must not be missed.")] = "2%",
    budget: Annotated[str, typer.Option(help="Time to spend at most.")] = "60s",
    threads: Annotated[
        int | None, typer.Option(min=0, help="Of both; 0: the usable cores, at most 4.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Time in real-time bursts; needs the privilege.")
    ] = False,
    again: Annotated[
        Path | None, typer.Option("--from", help="Judge what an earlier -o wrote; no A, no B.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON with raw samples.")] = None,
    html: Annotated[Path | None, typer.Option(help="A page to look at, one HTML file.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> int:
    """Tell whether B is slower than A.

    Fresh sessions in fresh processes, at the threads and options that ship. Exits with 8 where B
    is slower, with 9 where it cannot be told.

    Example: edgepack compare float.edgepack int8.edgepack --budget 30s
    """
    from edgepack.bench.contest import Contest, Terms
    from edgepack.bench.findings import Until, as_data, find
    from edgepack.bench.ground import Here, There
    from edgepack.bench.record import load
    from edgepack.bench.remote import open_timing

    bars = _bars(tolerate, detect)
    seconds = terminal.parse("--budget", budget, units.parse_duration, "60s")
    for path in (out, html):
        _check(on, path, realtime=realtime)
    if again is not None:
        _require_none(models)
        run = load(again)
    else:
        terms = Terms(Until(bars), seconds, realtime=realtime, seed=secrets.randbits(31))
        tell = terminal.silence if quiet else terminal.progress
        device = None if on == "local" else open_timing(on)
        ground = Here() if device is None else There(device)
        run = _measure(Contest(_rivals(models, threads, device), terms, tell, ground), out)
    found = find(run, bars)
    if html is not None:
        _draw(run, found, html)
    if json:
        terminal.show_json(as_data(run, found))
    else:
        _show(run, found)
    return _CODES.get(found.verdict.decision, 0)


def _draw(run: "Run", found: "Findings", path: Path) -> None:
    from edgepack.base.files import write_whole
    from edgepack.bench import page

    write_whole(path, page.comparison(run, found))


def _bars(tolerate: str, detect: str) -> "Bars":
    from edgepack.bench.verdict import Bars

    least = terminal.parse("--tolerate", tolerate, units.parse_percent, "0.5%")
    most = terminal.parse("--detect", detect, units.parse_percent, "2%")
    if least >= most:
        raise RequestError(
            "E-USAGE",
            f"--tolerate {tolerate} is not below --detect {detect}",
            hint="what must be detected cannot be tolerated",
        )
    return Bars(least, most)


def _check(on: str, out: Path | None, *, realtime: bool) -> None:
    """Refuse other devices, and an output that cannot be written."""
    if on != "local" and not on.startswith("ssh:"):
        raise RequestError(
            "E-DEVICE",
            f"compare cannot time on {on!r}",
            hint="leave --on out: it times on this machine; an emulated CPU has no time",
        )
    if on != "local" and realtime:
        raise RequestError("E-USAGE", "real-time bursts are for this machine", hint="drop --on")
    if out is not None:
        check_writable(out)


def _require_none(models: list[Path] | None) -> None:
    if models:
        raise RequestError("E-USAGE", "--from judges a file, and takes no models", hint="drop them")


def _rivals(models: list[Path] | None, threads: int | None, device: "Timing | None") -> "Rivals":
    from edgepack.bench import arms

    if models is None or len(models) != 2:
        given = len(models or ())
        raise RequestError(
            "E-USAGE", f"compare takes two models, not {given}", hint="edgepack compare A B"
        )
    return arms.read(models[0], models[1], threads, device)


def _measure(contest: "Contest", out: Path | None) -> "Run":
    """Measure, and keep the raw samples, also where something ends it early."""
    from edgepack.base.files import write_whole
    from edgepack.bench.record import encode

    try:
        run, _ = contest.compare()
    except KeyboardInterrupt:
        hint = _keep(contest, out, broken=False)
        said = f"interrupted after {contest.measured} processes"
        raise terminal.Interrupted("E-INTERRUPTED", said, hint=hint) from None
    except (MachineError, ModelError) as error:
        if not contest.measured:
            raise
        hint = _keep(contest, out, broken=True)
        told = f"{error}, after {contest.measured} processes"
        raise type(error)(error.code, told, hint=hint) from error
    if out is not None:
        write_whole(out, encode(run))
    return run


def _keep(contest: "Contest", out: Path | None, *, broken: bool) -> str:
    """Write what was measured, if anything, and say how to judge it."""
    from edgepack.base.files import write_whole
    from edgepack.bench.record import encode

    if out is None or not contest.measured:
        return "nothing was written"
    write_whole(out, encode(contest.record(broken=broken)))
    if contest.measured < 2:
        return f"{out} holds one process, and an interval takes two"
    return f"edgepack compare --from {out}"


def _show(run: "Run", found: "Findings") -> None:
    verdict = found.verdict
    rows = [
        (name.upper(), side.path, str(side.options.threads), units.duration(found.low[name]))
        for name, side in (("a", run.a), ("b", run.b))
    ]
    terminal.table("", ("", "model", "threads", f"{run.clock} time, p25"), rows)
    low, high = verdict.interval
    confidence = units.percent(found.confidence, 0)
    terminal.say(_SENTENCES[verdict.decision])
    terminal.say(
        f"B takes {verdict.ratio:.4f} of A's time, {confidence} interval [{low:.4f}, {high:.4f}]"
    )
    terminal.say(
        f"a slow-down of {units.percent(verdict.smallest_effect)} or more would have been called "
        f"slower nine times in ten"
    )
    bursts = ", real-time bursts" if run.realtime else ""
    terminal.say(
        f"{verdict.processes} processes, {verdict.pairs} pairs of sessions, {run.plan.rounds} "
        f"rounds each, {run.clock} time{bursts}, {units.duration(run.elapsed)}"
    )
    terminal.say(f"inputs: {run.inputs}")
    for doubt in found.doubts:
        terminal.say(f"doubt: {doubt.cause}; {doubt.remedy}")
