"""The command line: one file per command; parse, call one function, print.

The directory is the registry here too: ``cli/build.py`` holds ``build`` and is the command of that
name. What the files share is in ``terminal``, which is no command.
"""

import contextlib
import importlib
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from difflib import get_close_matches

import typer
from typer.exceptions import TyperException

from edgepack.base.errors import EdgepackError
from edgepack.cli.terminal import complain

_SHARED = "terminal"
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""128 + the number of the signal, as a shell reports it."""


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
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if args[:1] == ["--version"]:
        args = ["doctor", "--version"]
    _stop_on_signals()
    try:
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # `edgepack targets | head`: typer exits by itself
        _abandon_stdout()
        return _BROKEN_PIPE
    except OSError as error:
        _abandon_stdout()
        _trace(args, error)
        complain("E-SYSTEM", f"{type(error).__name__}: {error}", "look at the disk and the path")
        return 6
    return code


def _run(args: list[str]) -> int:
    try:
        code = _app()(args, standalone_mode=False)
    except EdgepackError as error:
        _trace(args, error)
        complain(error.code, str(error), error.hint)
        return error.exit_code
    except TyperException as error:
        message = str(getattr(error, "message", error)).rstrip(".")
        complain("E-USAGE", message[:1].lower() + message[1:], _suggest(error, args))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except MemoryError as error:
        _trace(args, error)
        complain("E-RAM", "out of memory", "close other programs, or use a larger machine")
        return 6
    except OSError:
        raise
    except Exception as error:  # the one place where a bug of ours must not look like anything else
        _trace(args, error)
        complain(
            "E-BUG", f"{type(error).__name__}: {error}", "please report it; --debug shows where"
        )
        return 1
    if code == _INTERRUPTED:
        complain("E-INTERRUPTED", "interrupted", "what was finished before is whole")
    return code if isinstance(code, int) else 0


def _abandon_stdout() -> None:
    """Let nothing more go to stdout: at exit Python would flush it again, and end with 120."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _trace(args: list[str], error: BaseException) -> None:
    if "--debug" in args:
        traceback.print_exception(error)


def _stop_on_signals() -> None:
    """Let a request to end unwind like Ctrl-C, so that children and temporary files go too."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), stop)


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
