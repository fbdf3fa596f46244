"""Take a PyTorch model to the edge: compressed, quantized, checked, bundled.

The names below are imported on first use, so that ``import edgepack`` costs next to nothing and
``edgepack.load`` needs numpy and onnxruntime alone.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.base.errors import (
        DataError,
        EdgepackError,
        GateError,
        MachineError,
        ModelError,
        RequestError,
        SafetyError,
    )
    from edgepack.build import build
    from edgepack.runtime.model import Model, load

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "EdgepackError",
    "GateError",
    "MachineError",
    "Model",
    "ModelError",
    "RequestError",
    "SafetyError",
    "build",
    "load",
]

_HOMES = {
    "build": "edgepack.build",
    "load": "edgepack.runtime.model",
    "Model": "edgepack.runtime.model",
}


class _Package(ModuleType):
    """A module whose submodules do not hide its functions: ``edgepack.build`` is both."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


if not TYPE_CHECKING:  # a checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'edgepack' has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "edgepack.base.errors")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
