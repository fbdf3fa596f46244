"""``edgepack embed``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.cli import terminal


def embed(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    lang: Annotated[str, typer.Option(help="Language of the app: python, c, node or web.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
    runtime: Annotated[
        Path | None,
        typer.Option(help="Carry the files of this folder, npm's onnxruntime-web (for web)."),
    ] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Write a small app that runs a bundle without edgepack.

    Readable source, the model, golden samples and a self-test.

    Example: edgepack embed dist/digits-arm64.edgepack --lang c -o app
    """
    from edgepack.base import registry
    from edgepack.bundle.open import open_bundle
    from edgepack.embed import check_absent
    from edgepack.embed import embed as write

    registry.find("embed", lang)
    check_absent(out)
    files = write(open_bundle(bundle), lang, out, runtime)
    if json:
        terminal.show_json({"folder": str(out), "files": files})
        return
    terminal.say(f"{out}: {', '.join(files)}")
    terminal.say(f"next: read {out / 'README.md'}")
