"""The command line: one file per command; parse, call one function, print.

The directory is the registry here too: ``cli/build.py`` holds ``build`` and is the command of that
name. What the files share is in ``terminal``, which is no command.
"""

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import typer
from typer.exceptions import TyperException

from edgepack.base.errors import EdgepackError
from edgepack.cli.terminal import complain

_SHARED = "terminal"


def commands() -> tuple[str, ...]:
    """List the commands, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != _SHARED))


def _app() -> typer.Typer:
    app = typer.Typer(
        name="edgepack",
        help="Take a PyTorch model to the edge: quantized, checked on its kernels, bundled.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name in commands():
        module = importlib.import_module(f"edgepack.cli.{name}")
        app.command(name)(getattr(module, name))
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the contract."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["--version"]:
        args = ["doctor", "--version"]
    try:
        code = _app()(args, standalone_mode=False)
    except EdgepackError as error:
        if "--debug" in args:
            raise
        complain(error.code, str(error), error.hint)
        return error.exit_code
    except TyperException as error:
        message = str(getattr(error, "message", error)).rstrip(".")
        complain("E-USAGE", message[:1].lower() + message[1:], _suggest(error, args))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("E-INTERRUPTED", "interrupted", "nothing was written")
        return 130
    return code if isinstance(code, int) else 0


def _suggest(error: TyperException, args: list[str]) -> str:
    """Offer the closest option or command, else the help of the command at hand."""
    options = getattr(error, "possibilities", None)
    if options:
        return f"did you mean {options[0]!r}?"
    close = get_close_matches(args[0], commands(), n=1) if args else []
    if close and args[0] not in commands():
        return f"did you mean {close[0]!r}?"
    command = f" {args[0]}" if args and args[0] in commands() else ""
    return f"edgepack{command} --help"
