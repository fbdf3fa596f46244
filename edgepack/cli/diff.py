"""``edgepack diff``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.cli import terminal


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A bundle, or model.onnx.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what changed between two artifacts.

    Interface, operators by precision, every weight that moved and how far; between bundles also
    target, accuracy, fidelity, steps and versions.

    Example: edgepack diff old/digits-arm64.edgepack dist/digits-arm64.edgepack
    """
    from edgepack.report.difference import artifact, differences

    one, other = artifact(before), artifact(after)
    changes = differences(one, other)
    if json:
        terminal.show_json(
            {"a": one.sha256, "b": other.sha256, "changes": [*changes]},
        )
        return
    for section in dict.fromkeys(change.section for change in changes):
        rows = [
            (each.name, each.before or "-", each.after or "-")
            for each in changes
            if each.section == section
        ]
        terminal.table("", (section, "A", "B"), rows)
    same = "same bytes" if one.sha256 == other.sha256 else "nothing that is compared differs"
    terminal.say(f"{len(changes)} changes" if changes else same)
