"""What commands print through: results on stdout, everything else on stderr."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_WIDTH = 100
"""Columns where there is no terminal to ask."""


def complain(code: str, message: str, hint: str = "") -> None:
    """Print an error and its hint on stderr, a line each."""
    print(f"error[{code}]: {' '.join(message.split())}", file=sys.stderr)
    if hint:
        print(f"hint: {' '.join(hint.split())}", file=sys.stderr)


def progress(sentence: str) -> None:
    """Print a sentence of progress on stderr."""
    print(f"  {sentence}", file=sys.stderr, flush=True)


def silence(_: str) -> None:
    """Print nothing."""


def show_json(data: object) -> None:
    """Print one JSON object on stdout."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=1)
    sys.stdout.write(text.decode() + "\n")


def console() -> "Console":
    """Return a rich console on stdout; no colour when piped or with NO_COLOR."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout."""
    from rich import box
    from rich.table import Table

    view = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in head:
        view.add_column(column, overflow="fold")
    for row in rows:
        view.add_row(*row)
    console().print(view)


def say(text: str = "") -> None:
    """Print a line of result on stdout."""
    console().print(text, soft_wrap=True)
