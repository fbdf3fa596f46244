"""What commands print through: results on stdout, everything else on stderr."""

import contextlib
import errno
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

import msgspec
import typer

from edgepack.base.errors import EdgepackError, RequestError

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_WIDTH = 100
"""Columns where there is no terminal to ask."""


_BEYOND_ASCII = re.compile(r"[^\x00-\x7e]")
_DIM = "[1-9][0-9]{0,17}"
_CONTROL = re.compile(r"[\x7f-\x9f]")
"""The control characters that JSON does not escape."""


class Interrupted(EdgepackError):  # noqa: N818 - as KeyboardInterrupt
    """Somebody asked to stop."""

    exit_code = 130


def complain(error: EdgepackError) -> None:
    """Print an error and its hint on stderr, a line each."""
    told = as_data(error)
    _tell(f"error[{told['code']}]: {told['message']}")
    if told["hint"]:
        _tell(f"hint: {told['hint']}")


def as_data(error: EdgepackError) -> dict[str, str | int]:
    """Return an error as ``--json`` shows it, each text one line."""
    return {
        "code": error.code,
        "message": " ".join(str(error).split()),
        "hint": " ".join(error.hint.split()),
        "exit": error.exit_code,
    }


def progress(sentence: str) -> None:
    """Print a sentence of progress on stderr."""
    _tell(f"  {sentence}")


def silence(_: str) -> None:
    """Print nothing."""


def _tell(line: str) -> None:
    """Print a line on stderr; where that is closed or full there is nobody left to tell."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(_plain(line), file=sys.stderr, flush=True)


def _plain(text: str) -> str:
    """Escape what would steer the terminal: names and paths come from models and from files."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def _escape(found: re.Match[str]) -> str:
    """Write a character as JSON does; DEL too, which it would leave as it is."""
    return "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]


def _stdout() -> TextIO:
    """Return stdout, made to escape what its encoding lacks.

    Raises:
        OSError: It is closed.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def show_json(data: object) -> None:
    """Print one JSON object on stdout.

    Raises:
        OSError: It cannot be written.
    """
    out = _stdout()
    text = msgspec.json.format(msgspec.json.encode(data), indent=1).decode()
    utf8 = (out.encoding or "").lower().replace("-", "") == "utf8"
    escaped = _CONTROL if utf8 else _BEYOND_ASCII
    print(escaped.sub(_escape, text), file=out, flush=True)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout.

    Raises:
        OSError: It cannot be written.
    """
    from rich import box
    from rich.table import Table

    view = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in head:
        view.add_column(_plain(column), overflow="fold")
    for row in rows:
        view.add_row(*map(_plain, row))
    out = _stdout()
    screen = _console(out)
    with screen.capture() as drawn:  # rich itself would end the process where nobody reads on
        screen.print(view)
    print(drawn.get(), file=out, end="", flush=True)


def say(text: str = "") -> None:
    """Print a line of result on stdout.

    Raises:
        OSError: It cannot be written.
    """
    print(_plain(text), file=_stdout(), flush=True)


def _console(out: TextIO) -> "Console":
    """Return a rich console; no colour when piped, whatever FORCE_COLOR says, or with NO_COLOR."""
    from rich.console import Console

    tty = out.isatty()
    return Console(
        file=out,
        width=None if tty else _WIDTH,
        force_terminal=None if tty else False,
        highlight=False,
        emoji=False,
        markup=False,
    )


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Read what ``--shape`` was given: an input and its shape.

    Raises:
        RequestError: It is no shape.
    """
    name, _, dims = text.rpartition("=")
    if not name or not re.fullmatch(rf"{_DIM}(x{_DIM})*", dims, re.ASCII):
        raise RequestError("E-USAGE", f"--shape {text!r} is no shape", hint=_meant(text))
    return name, tuple(int(dim) for dim in dims.split("x"))


def _meant(text: str) -> str:
    """Return the right form of a shape, of this one where it is plain: x:1,3 is x=1x3."""
    plain = re.fullmatch(rf"([^=: ]+)[=: ]+({_DIM}(?:(?:x|[^\w.-]+){_DIM})*)", text, re.ASCII)
    form = f"{plain[1]}={'x'.join(re.findall(_DIM, plain[2]))}" if plain else "NAME=1x3x224x224"
    return f"--shape {form}: the input's name, numbers above 0, an x between"


def parse(option: str, text: str, read: Callable[[str], float], example: str) -> float:
    """Read the value of an option.

    Raises:
        RequestError: ``read`` does not understand it.
    """
    try:
        return read(text)
    except ValueError as error:
        raise RequestError("E-USAGE", f"{option}: {error}", hint=f"{option} {example}") from error
