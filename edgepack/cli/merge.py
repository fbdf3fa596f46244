"""``edgepack merge``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import RequestError
from edgepack.cli import terminal


def merge(
    statistics: Annotated[list[Path], typer.Argument(help="Files of `edgepack calibrate --save`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the sum.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Add up statistics of several shards of the calibration data.

    The sum is, byte for byte, what one run over all of them would have saved, in any order.

    Example: edgepack merge one.stats two.stats -o all.stats
    """
    if out.is_dir() or (out.exists() and not force):
        raise RequestError(
            "E-EXISTS", f"the output {str(out)!r} exists", hint="add --force to replace a file"
        )
    from edgepack.base.files import sha256, write_whole
    from edgepack.calibration import stored

    merged = stored.merge([stored.load(path) for path in statistics])
    data = stored.encode(merged)
    write_whole(out, data)
    if json:
        terminal.show_json(
            {"key": merged.key, "samples": len(merged.items), "sha256": sha256(data)}
        )
        return
    terminal.say(f"{len(merged.items)} samples, {len(merged.tensors)} tensors: {out}")
