"""``edgepack bench``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import RequestError
from edgepack.cli import terminal


def bench(
    models: Annotated[list[Path], typer.Argument(help="Bundles, or model.onnx.")],
    threads: Annotated[int, typer.Option(min=0, help="0: the usable cores, at most 4.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs before.")] = 20,
    on: Annotated[str, typer.Option(help="local, or qemu:CPU to count.")] = "local",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON with raw samples.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Time models on this machine.

    After warm-up: p50, p90 and p99 of wall and CPU time; raw samples are kept.

    Example: edgepack bench dist/digits-x86_64.edgepack --threads 1
    """
    import msgspec

    from edgepack.base import units
    from edgepack.base.files import write_whole
    from edgepack.bench.single import measure

    if out is not None:
        _check(out)
    if on != "local":
        _count(models, on, out, json=json)
        return
    results = [measure(path, threads=threads, runs=runs, warmup=warmup) for path in models]
    if out is not None:
        write_whole(out, msgspec.json.encode({"format": "edgepack-bench/1", "results": results}))
    if json:
        terminal.show_json({"format": "edgepack-bench/1", "results": results})
        return
    rows = [
        (
            result.model,
            str(result.threads),
            clock,
            *(units.duration(values[f"p{p}"]) for p in (50, 90, 99)),
        )
        for result in results
        for clock, values in result.percentiles.items()
    ]
    terminal.table("", ("model", "threads", "clock", "p50", "p90", "p99"), rows)


def _count(models: list[Path], on: str, out: Path | None, *, json: bool) -> None:
    """Show instructions, misses and the estimated cost of each model on an emulated CPU."""
    import msgspec

    from edgepack.base import units
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
