"""``edgepack init``."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from edgepack.base.errors import RequestError, nearest
from edgepack.cli import terminal

_TEMPLATES = Path(__file__).parents[1] / "templates"


def init(
    template: Annotated[str, typer.Argument(help="Which project to start from.")] = "digits",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to make.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Start a project that builds as it is.

    It holds a model, its data and an edgepack.toml.

    Example: edgepack init digits -o my-digits
    """
    known = sorted(path.name for path in _TEMPLATES.iterdir() if (path / "edgepack.toml").is_file())
    if template not in known:
        raise RequestError(
            "E-TEMPLATE", f"no template named {template!r}", hint=nearest(template, known)
        )
    folder = out or Path(template)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError("E-EXISTS", f"{str(folder)!r} exists and is not empty", hint="choose -o")
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(_TEMPLATES / template, folder, ignore=skip, dirs_exist_ok=True)
    files = sorted(path.name for path in folder.iterdir())
    if json:
        terminal.show_json({"folder": str(folder), "files": files})
        return
    terminal.say(f"{folder}: {', '.join(files)}")
    terminal.say(f"next: cd {folder} && edgepack build")
