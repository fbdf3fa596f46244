"""``edgepack calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import RequestError
from edgepack.cli import terminal


def calibrate(
    model: Annotated[
        str | None,
        typer.Argument(help="model.onnx, program.pt2, file.py:name; none: ./edgepack.toml"),
    ] = None,
    calib: Annotated[str | None, typer.Option(help="Calibration data.")] = None,
    save: Annotated[Path | None, typer.Option(help="File for the statistics.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe, or a file.")] = None,
    target: Annotated[str, typer.Option("--target", "-t", help="Whose plan to follow.")] = "x86_64",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Measure what activations look like, and show the range each method takes.

    Statistics are saved with --save; `edgepack merge` adds up those of several shards.

    Example: edgepack calibrate model.onnx --calib calib.npz --save model.stats
    """
    if save is not None and (save.is_dir() or (save.exists() and not force)):
        raise RequestError(
            "E-EXISTS", f"the output {str(save)!r} exists", hint="add --force to replace a file"
        )
    from edgepack.base.files import write_whole
    from edgepack.calibrate import calibrate as measure
    from edgepack.calibrate import ranges
    from edgepack.calibration.stored import encode

    tell = terminal.silence if quiet else terminal.progress
    record = measure(model, calib, target=target, recipe=recipe, tell=tell)
    if save is not None:
        write_whole(save, encode(record))
    found = {name: ranges(each) for name, each in record.tensors.items()}
    if json:
        terminal.show_json(
            {"key": record.key, "samples": len(record.items), "runs": record.runs, "ranges": found}
        )
        return
    methods = tuple(next(iter(found.values())))
    rows = [
        (name, *(f"{low:.4g} .. {high:.4g}" for low, high in each.values()))
        for name, each in found.items()
    ]
    terminal.table(f"{len(record.items)} samples", ("tensor", *methods), rows)
    if save is not None:
        terminal.say(f"saved {save}")
