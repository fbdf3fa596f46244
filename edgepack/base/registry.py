"""The directory is the registry: a file's name is the name users type.

``passes/quantize_static.py`` holds the class ``QuantizeStatic`` and is known everywhere (recipe,
report, error) as ``quantize_static``. Nothing is imported until it is asked for, so listing the
torch steps does not import torch. A file whose name begins with an underscore is no entry: it
holds what entries share.
"""

import importlib
import pkgutil
from pathlib import Path

from edgepack.base.errors import RequestError, nearest

_ROOT = Path(__file__).parents[1]

_WORDS = {"passes": "step", "compress": "step"}
"""What users call an entry, where the folder's name is no plural of it."""


def names(kind: str) -> tuple[str, ...]:
    """List what the folder ``edgepack/<kind>/`` offers, in alphabetical order."""
    folder = _ROOT.joinpath(*kind.split("."))
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def class_name(name: str) -> str:
    """Return the class that a file must hold: ``quantize_static`` -> ``QuantizeStatic``."""
    return name.title().replace("_", "")


def find(kind: str, name: str) -> type:
    """Import ``edgepack/<kind>/<name>.py`` and return the class it is named after.

    Args:
        kind: A registry folder, dotted where nested, such as ``passes`` or ``data.metrics``.
        name: A file of that folder, without its suffix.

    Raises:
        RequestError: No such file; the hint offers the closest name.
    """
    if name not in (known := names(kind)):
        word = _WORDS.get(kind) or kind.rsplit(".", 1)[-1].removesuffix("s")
        raise RequestError(
            f"E-{word.upper()}", f"no {word} named {name!r}", hint=nearest(name, known)
        )
    found = getattr(importlib.import_module(f"edgepack.{kind}.{name}"), class_name(name))
    assert isinstance(found, type)
    return found
