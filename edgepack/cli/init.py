"""``edgepack init``."""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import MachineError, RequestError, nearest
from edgepack.cli import terminal

_TEMPLATES = Path(__file__).parents[1] / "templates"
_WRONG_PATH = frozenset(
    {errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY}
)


def init(
    template: Annotated[str, typer.Argument(help="Which project to start from.")] = "digits",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to make.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Start a project: a model, its data and an edgepack.toml.

    digits builds as it is; text, vision and voice say what to install and train first.

    Example: edgepack init digits -o my-digits
    """
    known = sorted(path.name for path in _TEMPLATES.iterdir() if (path / "edgepack.toml").is_file())
    if template not in known:
        raise RequestError(
            "E-TEMPLATE", f"no template named {template!r}", hint=nearest(template, known)
        )
    folder = out or Path(template)
    try:
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise RequestError(
                "E-EXISTS", f"{str(folder)!r} exists and is not empty", hint="choose -o"
            )
        _start(_TEMPLATES / template, folder)
    except OSError as error:
        kind, code = (
            (RequestError, "E-PATH") if error.errno in _WRONG_PATH else (MachineError, "E-DISK")
        )
        raise kind(
            code,
            f"cannot make {str(folder)!r}: {(error.strerror or str(error)).lower()}",
            hint="choose another folder with -o",
        ) from error
    files = sorted(path.name for path in folder.iterdir())
    if json:
        terminal.show_json({"folder": str(folder), "files": files})
        return
    terminal.say(f"{folder}: {', '.join(files)}")
    first = "python train.py && " if "train.py" in files else ""
    terminal.say(f"next: cd {folder} && {first}edgepack build")


def _start(template: Path, folder: Path) -> None:
    """Copy a template to ``folder``, which is absent or empty, whole or not at all.

    The draft lies in the first folder above (or at) ``folder`` that exists, and what it holds is
    renamed: the whole chain of new folders at once, or the files one by one into an empty folder.
    """
    full = Path.cwd() / folder
    home = next(item for item in (full, *full.parents) if os.path.lexists(item))
    with (
        contextlib.ExitStack() as undo,
        tempfile.TemporaryDirectory(prefix=".draft-", dir=home) as draft,
    ):
        _copy(template, Path(draft, full.relative_to(home)))
        for item in sorted(Path(draft).iterdir()):
            item.rename(home / item.name)
            undo.callback(_remove, home / item.name)
        undo.pop_all()


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(source.iterdir()):
        if item.is_dir() and item.name != "__pycache__":
            _copy(item, target / item.name)
        elif item.is_file() and item.suffix != ".pyc":
            shutil.copyfile(item, target / item.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
