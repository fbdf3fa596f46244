"""``edgepack sign``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.cli import terminal


def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    key: Annotated[Path, typer.Option(help="The private Ed25519 key, a PEM file.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing signature.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Sign a bundle with an Ed25519 key; the signature lies beside it.

    Example: edgepack sign dist/digits-arm64.edgepack --key k.pem
    """
    from edgepack.bundle.sign import sign as write_signature

    target = write_signature(bundle, key, replace=force)
    if json:
        terminal.show_json({"bundle": str(bundle), "signature": str(target)})
        return
    terminal.say(f"signed: {target}")
