"""Recipes: what to do, as data; an ordered list of named steps that never mentions a target."""

from pathlib import Path
from typing import Literal

import msgspec

from edgepack.base.errors import RequestError, nearest
from edgepack.spec.decode import decode, read_toml

_FOLDER = Path(__file__).parents[1] / "recipes"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps on the torch module, then steps on the exported graph.

    Attributes:
        name: The file name, and what ``--recipe`` takes.
        summary: One line for ``edgepack recipes``.
        objective: What the user wants when ``--prefer`` is not given.
        compress: Each ``use = "name"`` of ``compress/`` and the fields of its class.
        graph: Each ``use = "name"`` of ``passes/`` and the fields of its class.
    """

    name: str
    summary: str = ""
    objective: Literal["speed", "size"] = "speed"
    compress: tuple[dict[str, object], ...] = ()
    graph: tuple[dict[str, object], ...] = ()


def names() -> tuple[str, ...]:
    """List the built-in recipes."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def source(name: str) -> str:
    """Return the text of a built-in recipe, as ``edgepack recipes NAME`` prints it."""
    return _path(name).read_text(encoding="utf-8")


def load(name: str) -> Recipe:
    """Read a recipe by its built-in name, or from a file when ``name`` is a path to one.

    Raises:
        RequestError: No such recipe, or the file breaks the schema.
    """
    path = Path(name) if name.endswith(".toml") else _path(name)
    return decode(Recipe, {"name": path.stem, **read_toml(path)}, str(path))


def _path(name: str) -> Path:
    if name not in (known := names()):
        raise RequestError("E-RECIPE", f"no recipe named {name!r}", hint=nearest(name, known))
    return _FOLDER / f"{name}.toml"
