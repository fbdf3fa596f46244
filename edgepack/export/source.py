"""``file.py:name`` to a module and its example inputs."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from edgepack.base.errors import ModelError, RequestError, nearest
from edgepack.base.reference import UserCode, load_object

_EXAMPLE = "example_inputs"
_SEED = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A module of the user.

    Attributes:
        module: As the user made it.
        example: Example inputs, in any form that ``interface.bind`` takes.
    """

    module: torch.nn.Module
    example: object


def load_source(
    ref: str, folder: Path = Path(), shapes: Mapping[str, Sequence[int]] | None = None
) -> Source:
    """Call what ``ref`` names and find its example inputs.

    They are, in this order: made of ``shapes``; returned beside the module, as
    ``(module, example)``; ``example_inputs`` of the same file, a value or a callable.

    Args:
        ref: ``file.py:name`` or ``pkg.module:name`` of a callable that returns an ``nn.Module``.
        folder: What a relative file is relative to.
        shapes: Input -> shape; float32 inputs are then drawn at random.

    Raises:
        RequestError: The reference names nothing.
        ModelError: It returns no module, raises, or there are no example inputs.
    """
    found = _called(ref, folder)
    example: object = None
    if isinstance(found, tuple) and len(found) == 2:
        found, example = found
    if not isinstance(found, torch.nn.Module):
        raise ModelError(
            "E-SOURCE",
            f"{ref!r} gives {type(found).__name__}, not an nn.Module",
            hint="name a callable that returns the module",
        )
    if shapes:
        return Source(found, _random(found, shapes))
    if example is None:
        example = _beside(ref, folder)
    return Source(found, example)


def _called(ref: str, folder: Path) -> object:
    """Return the object, or what it returns when it is a factory or a class."""
    found = load_object(ref, folder)
    if isinstance(found, torch.nn.Module) or not callable(found):
        return found
    with UserCode(ref, folder, ModelError):
        return found()


def _beside(ref: str, folder: Path) -> object:
    beside = f"{ref.rpartition(':')[0]}:{_EXAMPLE}"
    try:
        found = load_object(beside, folder)
    except RequestError as error:
        raise ModelError(
            "E-EXAMPLE",
            f"{ref!r} has no example inputs",
            hint=f"put {_EXAMPLE} beside it, or give --shape x=1x3x224x224",
        ) from error
    if callable(found):
        with UserCode(beside, folder, ModelError):
            return found()
    return found


def _random(
    module: torch.nn.Module, shapes: Mapping[str, Sequence[int]]
) -> dict[str, torch.Tensor]:
    known = inspect.signature(module.forward).parameters
    generator = torch.Generator().manual_seed(_SEED)
    for name in shapes:
        if name not in known:
            hint = nearest(name, known)
            raise RequestError("E-SHAPE", f"forward has no parameter {name!r}", hint=hint)
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
