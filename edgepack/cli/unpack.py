"""``edgepack unpack``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.cli import terminal


def unpack(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the files.")],
    key: Annotated[
        Path | None, typer.Option(help="A public Ed25519 key, PEM: the bundle must be signed.")
    ] = None,
    ort: Annotated[
        bool, typer.Option("--ort", help="Convert to .ort for this CPU, if that loads faster.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Write the files of a verified bundle into a folder, as an installer would.

    Example: edgepack unpack dist/digits-arm64.edgepack -o /opt/digits
    """
    from edgepack.bundle.open import open_bundle
    from edgepack.bundle.unpack import free, members, write
    from edgepack.runtime.convert import faster_ort

    opened = open_bundle(bundle, key)
    files = dict(members(opened))
    free(out, files, replace=force)
    told = ""
    if ort:
        converted = faster_ort(opened)
        told = converted.sentence
        if converted.data is not None:
            files["model.ort"] = converted.data
    written = write(out, files, replace=force)
    if json:
        terminal.show_json({"files": {str(p): len(d) for p, d in written.items()}, "ort": told})
        return
    for path in written:
        terminal.say(str(path))
    if told:
        terminal.say(told)
