"""``file.py:name`` and ``pkg.module:name``: objects that live in the user's own code.

Models, data, losses and metrics are named this way. The user's code runs inside ``UserCode``,
wherever edgepack calls it: its folder can be imported from, and what it raises is named.
"""

import contextlib
import hashlib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from edgepack.base.errors import EdgepackError, RequestError, nearest


class UserCode:
    """A context in which code of the user runs.

    Inside, the folder of the code comes first on ``sys.path``, and what the code prints goes to
    stderr, for stdout is for results; on leaving, both are as they were. Any exception but an
    interrupt becomes an ``EdgepackError`` that names its type, text and line; the original is its
    ``__cause__``.
    """

    def __init__(
        self, ref: str, folder: Path = Path(), blame: type[EdgepackError] = RequestError
    ) -> None:
        """Prepare to run the code called ``ref``.

        Args:
            ref: As the user wrote it.
            folder: What a relative ``ref`` is relative to.
            blame: The kind of error to raise when the code does.
        """
        self._ref = ref
        self._blame = blame
        self._home = home(ref, folder)
        self._path: list[str] = []
        self._printing = contextlib.redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        self._path = list(sys.path)
        sys.path.insert(0, str(self._home))
        self._printing = contextlib.redirect_stdout(sys.stderr)
        self._printing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._printing.__exit__(kind, error, trace)
        sys.path[:] = self._path
        if error is None or isinstance(error, EdgepackError | KeyboardInterrupt | GeneratorExit):
            return
        # traceback's text, not str(): an exception of the user's may fail to say what it is.
        text = str(traceback.TracebackException(type(error), error, None, compact=True))
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise self._blame(
            "E-SOURCE",
            f"{self._ref!r} raised {said} ({self._line(error)})",
            hint="--debug shows the traceback",
        ) from error

    def _line(self, error: BaseException) -> str:
        """Say where it happened: the innermost line of the user's own folder."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{Path(error.filename).name}, line {error.lineno}"
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if self._owns(Path(frame.filename))]
        last = (own or list(frames))[-1]
        return f"{Path(last.filename).name}, line {last.lineno}"

    def _owns(self, file: Path) -> bool:
        return file.is_relative_to(self._home) and "site-packages" not in file.parts


def home(ref: str, folder: Path = Path()) -> Path:
    """Return the folder that the code of ``ref`` may import from."""
    head = ref.rpartition(":")[0]
    path = folder / head if head.endswith(".py") else folder / "_"
    return path.resolve().parent


def load_object(ref: str, folder: Path = Path()) -> object:
    """Import what ``ref`` names.

    A file is executed once under a private name made of its path and content: the same file
    gives the same objects, an edited one gives new ones.

    Args:
        ref: ``file.py:name`` or ``pkg.module:name``.
        folder: What a relative file is relative to, and where modules are looked for first.

    Raises:
        RequestError: No such file, module or name, or the code raised on import.
    """
    head, _, name = ref.rpartition(":")
    if not (head and name):
        raise RequestError(
            "E-REFERENCE", f"{ref!r} names no object", hint="write file.py:name or pkg.module:name"
        )
    module = _file(ref, folder / head, folder) if head.endswith(".py") else _module(ref, folder)
    if not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise RequestError("E-REFERENCE", f"no {name!r} in {head!r}", hint=nearest(name, known))
    found: object = getattr(module, name)
    return found


def _file(ref: str, path: Path, folder: Path) -> ModuleType:
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {reason}", hint="check the path"
        ) from error
    full = path.resolve()
    name = "_edgepack_" + hashlib.sha256(str(full).encode() + b"\0" + source).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(full)
    sys.modules[name] = module  # dataclasses and typing look a class up through its module
    done = False
    try:
        with UserCode(ref, folder):
            # compiled here, not through a loader: a stale .pyc would run other code than was hashed
            exec(compile(source, str(full), "exec"), vars(module))  # noqa: S102
        done = True
    finally:
        if not done:
            del sys.modules[name]
    return module


def _module(ref: str, folder: Path) -> ModuleType:
    head = ref.rpartition(":")[0]
    with UserCode(ref, folder):
        try:
            return importlib.import_module(head)
        except ModuleNotFoundError as error:
            if not f"{head}.".startswith(f"{error.name}."):
                raise
            raise RequestError(
                "E-REFERENCE",
                f"no module named {error.name!r}",
                hint="install it, or give file.py:name",
            ) from error
