"""``edgepack inspect``."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edgepack.base.errors import RequestError, nearest
from edgepack.cli import terminal


def inspect(
    model: Annotated[Path | None, typer.Argument(help="A bundle, or model.onnx.")] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            help="Print the JSON Schema of manifest.json, or of the member named: preprocess.json.",
        ),
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Error by tensor, and what the runtime did not fuse.")
    ] = False,
    float_: Annotated[
        Path | None, typer.Option("--float", help="The float model that it was made from, .onnx.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option("--eval", help="Samples for --layers; else the bundle's own.")
    ] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what a bundle or model holds.

    Signature, operators by precision, sizes, and what was left in float and why.

    Example: edgepack inspect dist/digits-arm64.edgepack --layers --float digits.onnx
    """
    if schema:
        _schema("manifest.json" if model is None else model.name)
    elif model is None:
        raise RequestError("E-USAGE", "nothing to inspect", hint="edgepack inspect BUNDLE|MODEL")
    elif layers:
        _layers(model, float_, evaluation, json=json)
    elif float_ is not None or evaluation is not None:
        raise RequestError("E-USAGE", "--float and --eval are for --layers", hint="add --layers")
    elif model.suffix.lower() == ".onnx":
        _onnx(model, json=json)
    else:
        _bundle(model, json=json)


def _schema(member: str) -> None:
    from edgepack.spec import manifest, preprocess

    schemas = {"manifest.json": manifest.schema, "preprocess.json": preprocess.schema}
    if member not in schemas:
        known = nearest(member, schemas)
        raise RequestError("E-USAGE", f"there is no schema of {member!r}", hint=known)
    terminal.show_json(schemas[member]())


def _onnx(path: Path, *, json: bool) -> None:
    from edgepack.graph.census import census, signature
    from edgepack.graph.precision import precisions
    from edgepack.graph.read import read

    found = read(path)
    face, counted, table = signature(found.model), census(found.model), precisions(found.model)
    if json:
        terminal.show_json(
            {
                "sha256": found.sha256,
                "signature": face,
                "operators": table,
                "weight_bytes": counted.weights,
                "notes": found.notes,
            }
        )
        return
    _signature(face.inputs, face.outputs)
    _operators(table)
    for note in found.notes:
        terminal.say(f"note: {note}")
    terminal.say(f"sha256 {found.sha256}")


def _layers(path: Path, float_: Path | None, evaluation: str | None, *, json: bool) -> None:
    from edgepack.gate.fusion import fusion
    from edgepack.report.layers import load

    model, errors = load(path, float_, evaluation)
    found = fusion(model)
    if json:
        terminal.show_json({"errors": errors, "before": found.before, "left": found.left})
        return
    if errors:
        table = [(e.tensor, e.maker, _decibels(e.total), _decibels(e.added)) for e in errors]
        titles = ("tensor", "made by", "dB against float", "dB of its own rounding")
        terminal.table("", titles, table)
    inner = [each for each in found.left if not each.end]
    ends = len(found.left) - len(inner)
    rows = [(each.op, each.tensor, each.between) for each in inner]
    if rows:
        terminal.table("", ("not fused", "tensor", "between"), rows)
    terminal.say(
        f"{found.before} nodes round or restore; the runtime here leaves {ends} at inputs and "
        f"outputs and {len(inner)} inside"
    )


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _bundle(path: Path, *, json: bool) -> None:
    from edgepack.bundle.open import open_bundle
    from edgepack.report import text

    bundle = open_bundle(path)
    manifest = bundle.manifest
    if json:
        terminal.show_json(
            {
                "sha256": bundle.sha256,
                "bytes": bundle.size,
                "manifest": msgspec.to_builtins(manifest),
                "preprocess": msgspec.to_builtins(bundle.preprocess),
            }
        )
        return
    rows = [*text.manifest_rows(manifest), ("raw input", text.preprocess(bundle.preprocess))]
    terminal.table("", ("bundle", str(path)), rows)
    _signature(manifest.inputs, manifest.outputs)
    _operators(manifest.precision.operators)
    if manifest.precision.left_in_float:
        terminal.table(
            "", ("left in float", "why"), sorted(manifest.precision.left_in_float.items())
        )
    steps = [(step.use, step.skipped or f"{step.edits} edits") for step in manifest.lineage.steps]
    terminal.table("", ("step", "what it did"), steps)
    terminal.say(f"sha256 {bundle.sha256}")


def _signature(inputs: tuple[object, ...], outputs: tuple[object, ...]) -> None:
    rows = [
        *(("input", str(spec)) for spec in inputs),
        *(("output", str(spec)) for spec in outputs),
    ]
    terminal.table("", ("", "signature"), rows)


def _operators(table: dict[str, dict[str, int]]) -> None:
    columns = sorted({precision for counts in table.values() for precision in counts})
    rows = [
        (op, *(str(counts.get(precision, "")) for precision in columns))
        for op, counts in table.items()
    ]
    terminal.table("", ("operator", *columns), rows)
