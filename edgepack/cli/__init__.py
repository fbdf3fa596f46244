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

from edgepack.base.errors import EdgepackError, MachineError, RequestError
from edgepack.cli.terminal import Interrupted, as_data, complain, show_json

_SHARED = "terminal"
_INTERRUPTED = 130
_STOPPED = Interrupted("E-INTERRUPTED", "interrupted", hint="what was finished before is whole")
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
        said = f"{type(error).__name__}: {error}"
        code = _fail(args, MachineError("E-SYSTEM", said, hint="look at the disk and the path"))
        _abandon_stdout()
    return code


def _run(args: list[str]) -> int:
    try:
        code = _app()(args, standalone_mode=False)
    except EdgepackError as error:
        return _fail(args, error)
    except TyperException as error:
        said = _usage(error)
        return _fail(args, RequestError("E-USAGE", said, hint=_suggest(error, args)))
    except (KeyboardInterrupt, typer.Abort):
        return _fail(args, _STOPPED)
    except MemoryError:
        hint = "close other programs, or use a larger machine"
        return _fail(args, MachineError("E-RAM", "out of memory", hint=hint))
    except OSError:
        raise
    except Exception as error:  # the one place where a bug of ours must not look like anything else
        said, hint = f"{type(error).__name__}: {error}", "please report it; --debug shows where"
        return _fail(args, EdgepackError("E-BUG", said, hint=hint))
    if code == _INTERRUPTED:  # what was measured is on stdout already
        complain(_STOPPED)
    return code if isinstance(code, int) else 0


def _fail(args: list[str], error: EdgepackError) -> int:
    """Say what went wrong: on stderr, and with ``--json`` as the one object on stdout."""
    if "--debug" in args:
        traceback.print_exc()
    complain(error)
    if "--json" in args:
        with contextlib.suppress(OSError):  # nobody reads on
            show_json({"error": as_data(error)})
    return error.exit_code


def _abandon_stdout() -> None:
    """Let nothing more go to stdout: at exit Python would flush it again, and end with 120."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop_on_signals() -> None:
    """Let a request to end unwind like Ctrl-C, so that children and temporary files go too."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), stop)


def _usage(error: TyperException) -> str:
    """Say what is wrong with the arguments, the option named, without the parser's own advice."""
    said = error.format_message().strip()
    for advice in (". Did you mean", " Did you mean", " (Possible options"):
        said = said.partition(advice)[0]
    return said[:1].lower() + said[1:].rstrip(".")


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
