"""``edgepack targets``."""

from typing import Annotated

import msgspec
import typer

from edgepack.cli import terminal
from edgepack.spec import target as spec


def targets(
    name: Annotated[str | None, typer.Argument(help="One target, with its sources.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """List targets, or show one.

    Example: edgepack targets raspberry-pi-5
    """
    known = [spec.load(item) for item in (spec.names() if name is None else (name,))]
    if json:
        terminal.show_json({item.name: msgspec.to_builtins(item) for item in known})
        return
    if name is None:
        rows = [(item.name, item.arch, scheme(item), item.summary) for item in known]
        terminal.table("", ("target", "arch", "int8", "what it is"), rows)
        return
    facts = msgspec.to_builtins(known[0])
    sources = facts.pop("sources")
    if spec.shadows(known[0]):
        terminal.progress(f"targets/{name}.toml hides the built-in target of that name")
    terminal.table("", ("fact", "value"), [(key, str(value)) for key, value in facts.items()])
    terminal.table("", ("sources",), [(line,) for line in sources])


def scheme(target: spec.Target) -> str:
    """Return activations x weights in a word: ``u8 x s8``."""
    if target.int8 is None:
        return "-"
    short = {"uint8": "u8", "int8": "s8"}
    symmetric = " symmetric" if target.int8.symmetric else ""
    return f"{short[target.int8.activations]} x {short[target.int8.weights]}{symmetric}"
