"""``edgepack recipes``."""

from typing import Annotated

import msgspec
import typer

from edgepack.cli import terminal
from edgepack.spec import recipe as spec


def recipes(
    name: Annotated[str | None, typer.Argument(help="One recipe, as its file.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """List recipes, or print one.

    Example: edgepack recipes int8
    """
    known = [spec.load(item) for item in (spec.names() if name is None else (name,))]
    if json:
        terminal.show_json({item.name: msgspec.to_builtins(item) for item in known})
    elif name is None:
        rows = [(item.name, item.objective, item.summary) for item in known]
        terminal.table("", ("recipe", "objective", "what it does"), rows)
    else:
        terminal.say(spec.source(name).rstrip() if name in spec.names() else str(known[0]))
