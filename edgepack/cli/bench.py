"""``edgepack bench``."""

import itertools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.base.errors import MachineError, RequestError
from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.single import Result


def bench(
    models: Annotated[list[Path], typer.Argument(help="Bundles, or model.onnx.")],
    on: Annotated[list[str] | None, typer.Option(help="A device; repeat for several.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: the usable cores, at most 4.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs before.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON with raw samples.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Time models on this machine, or on another with --on ssh://[user@]host.

    The loop runs wholly on the device. After warm-up: p50, p90 and p99 of wall and CPU time; raw
    samples are kept.

    Example: edgepack bench dist/digits-x86_64.edgepack --threads 1
    """
    import msgspec

    from edgepack.base.files import write_whole
    from edgepack.bench import remote
    from edgepack.bench.single import measure

    if out is not None:
        _check(out)
    places = on or ["local"]
    opened = {name: remote.open_timing(name) for name in places if name != "local"}
    results = []
    for name, path in itertools.product(places, models):
        timed = partial(remote.measure, device=opened[name]) if name in opened else measure
        results.append(timed(path, threads=threads, runs=runs, warmup=warmup))
    if out is not None:
        write_whole(out, msgspec.json.encode({"format": "edgepack-bench/1", "results": results}))
    if json:
        terminal.show_json({"format": "edgepack-bench/1", "results": results})
    else:
        _show(results)
    for result in results:
        if result.incomplete:
            raise MachineError("E-LOST", result.incomplete, hint="what was measured is reported")


def _show(results: list["Result"]) -> None:
    from edgepack.base import units

    rows = [
        (
            result.device,
            result.model,
            str(result.threads),
            clock,
            *(units.duration(values[f"p{p}"]) for p in (50, 90, 99)),
        )
        for result in results
        for clock, values in result.percentiles.items()
    ]
    terminal.table("", ("device", "model", "threads", "clock", "p50", "p90", "p99"), rows)


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
