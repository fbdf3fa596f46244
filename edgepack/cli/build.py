"""``edgepack build``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import EdgepackError, RequestError
from edgepack.cli import terminal


def build(
    model: Annotated[
        str | None,
        typer.Argument(help="model.onnx, program.pt2, file.py:name; none: ./edgepack.toml"),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="A target; repeat for several.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A built-in recipe, or a file: edgepack recipes.")
    ] = None,
    calib: Annotated[
        str | None, typer.Option(help="data.npz, a folder, file.py:name, or saved statistics.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option("--eval", help="The same, with labels if there are any.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="top1 top5 f1 auc eer mse mae cosine agreement, file.py:name."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(min=0, help="Loss allowed, in the metric's unit.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="The interval must hold too.")] = False,
    prefer: Annotated[str | None, typer.Option(help="speed, size: what int8 is for.")] = None,
    require: Annotated[str | None, typer.Option(help="int8: fail rather than ship float.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Of the model file, such as 5MB.")] = None,
    max_latency: Annotated[float | None, typer.Option(min=0, help="Milliseconds, p90.")] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="A device to run on besides: local, qemu:CPU, ssh://host; it times there."
        ),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Find the fastest session options on a device of the target: 60s."
        ),
    ] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help="An input's shape: x=1x3x224x224.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for bundles.")] = Path("dist"),
    name: Annotated[str | None, typer.Option(help="First part of the file name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing bundles.")] = False,
    replay: Annotated[
        Path | None, typer.Option(help="NAME-TARGET.report.json whose measurements are taken.")
    ] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> int:
    """Build a verified bundle for each target.

    Exports, quantizes, checks and packs; what misses a gate ships as float, and says so.

    Example: edgepack build model.onnx -t arm64 --calib calib.npz --eval eval.npz
    """
    from edgepack.build import run
    from edgepack.intake.request import Request
    from edgepack.report import text
    from edgepack.report.built import Built

    request = Request.of(
        {
            "model": model,
            "targets": target,
            "recipe": recipe,
            "calib": calib,
            "evaluation": evaluation,
            "metric": metric,
            "max_drop": max_drop,
            "strict": strict,
            "prefer": prefer,
            "require": require,
            "max_size": _bytes(max_size),
            "max_latency": None if max_latency is None else max_latency / 1000,
            "on": on,
            "tune": tune,
            "shape": dict(terminal.shape(item) for item in shape or ()),
            "out": out,
            "name": name,
            "force": force,
            "replay": replay,
        }
    )
    built: list[Built] = []
    failed: list[EdgepackError] = []
    for outcome in run(request, terminal.silence if quiet else terminal.progress):
        if isinstance(outcome, EdgepackError):
            terminal.complain(outcome)
            failed.append(outcome)
        else:
            built.append(outcome)
    worst = max(failed, key=lambda error: error.exit_code, default=None)
    if json:
        bundles = {"bundles": [text.built_as_data(item) for item in built]}
        errors = [terminal.as_data(error) for error in failed]
        told = {"error": terminal.as_data(worst), "errors": errors} if worst else {}
        terminal.show_json({**bundles, **told})
    elif built:
        for item in built:
            terminal.table("", ("", item.path.name), text.build_rows(item))
        terminal.say(f"next: {text.next_command(built[0])}")
    return worst.exit_code if worst else 0


def _bytes(text: str | None) -> int | None:
    from edgepack.base.units import parse_size

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise RequestError(
            "E-USAGE", f"--max-size {text!r} is no size", hint="--max-size 5MB"
        ) from error
