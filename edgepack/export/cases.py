"""Inputs that a model was not traced with, and what torch answers to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepack.base.errors import ModelError
from edgepack.export.faults import RAISED, quiet, reason, user_line
from edgepack.export.interface import Axes, Interface, Tensors, named_outputs
from edgepack.export.tolerance import Array, array, same

CASES = 5
"""Inputs of the example's own shape; more come for each dynamic size."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input and what torch answered.

    Attributes:
        inputs: In the order of the interface.
        expected: By output name.
        sizes: The dynamic sizes that differ from the example's.
    """

    inputs: Tensors
    expected: Mapping[str, Array]
    sizes: Mapping[str, int]


def make_cases(interface: Interface, axes: Sequence[Axes], seed: int = 0) -> tuple[Case, ...]:
    """Draw inputs like the example, and some of other sizes, and let torch answer them.

    Floats are normal with the example's mean and spread, kept in its range; integers are uniform
    in its range.

    Raises:
        ModelError: Torch fails on them, answers the same input in two ways, or refuses every other
            size of an axis that is declared dynamic.
    """
    rng = np.random.default_rng(seed)
    found = [_asked(interface, _drawn(interface, axes, {}, rng), {}) for _ in range(CASES)]
    again = _asked(interface, found[0].inputs, {})
    if not all(same(found[0].expected[name], again.expected[name]) for name in again.expected):
        raise ModelError(
            "E-RANDOM",
            "the module answers the same input differently: it draws random numbers or keeps state",
            hint="make it deterministic in eval mode; pass state as an input and an output",
        )
    for name, base in _sizes(interface, axes).items():
        found.extend(_other_sizes(interface, axes, (name, base), rng))
    return tuple(found)


def _other_sizes(
    interface: Interface, axes: Sequence[Axes], dimension: tuple[str, int], rng: np.random.Generator
) -> list[Case]:
    """Find one size besides the example's that torch accepts, and size 1 where it accepts that.

    Twice and half come first: sizes often are multiples of a stride, or end at a table's length.
    """
    name, base = dimension
    refusal: ModelError | None = None
    found: list[Case] = []
    for size in dict.fromkeys((2 * base, base // 2, base + 1, 1)):
        if size in (0, base) or (found and size != 1):
            continue
        try:
            drawn = _drawn(interface, axes, {name: size}, rng)
            found.append(_asked(interface, drawn, {name: size}))
        except ModelError as error:
            refusal = refusal or error
    if not found:
        raise ModelError(
            "E-DYNAMIC",
            f"dimension {name!r} is declared dynamic, yet torch takes only {base}: {refusal}",
            hint="leave it out of dynamic",
        ) from refusal
    return found


def _sizes(interface: Interface, axes: Sequence[Axes]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tensor, named in zip(interface.example, axes, strict=True):
        for axis, name in named.items():
            found.setdefault(name, tensor.shape[axis])
    return dict(sorted(found.items()))


def _drawn(
    interface: Interface, axes: Sequence[Axes], sizes: Mapping[str, int], rng: np.random.Generator
) -> Tensors:
    found = []
    for tensor, named in zip(interface.example, axes, strict=True):
        shape = [sizes.get(named.get(axis, ""), size) for axis, size in enumerate(tensor.shape)]
        found.append(_like(tensor, shape, rng))
    return tuple(found)


def _like(tensor: torch.Tensor, shape: Sequence[int], rng: np.random.Generator) -> torch.Tensor:
    """Draw a tensor of ``shape`` that resembles ``tensor``."""
    if tensor.dtype == torch.bool:
        return torch.from_numpy(rng.random(shape) < 0.5)
    if tensor.numel() == 0:
        return torch.zeros(*shape, dtype=tensor.dtype)
    if not tensor.dtype.is_floating_point:
        low, high = int(tensor.min()), int(tensor.max())
        return torch.from_numpy(rng.integers(low, high, shape, endpoint=True)).to(tensor.dtype)
    real = tensor.detach().double().numpy()
    mean, spread = float(real.mean()), float(real.std())
    if spread == 0.0:  # a constant example says nothing about the range
        return torch.from_numpy(rng.normal(mean, 1.0, shape)).to(tensor.dtype)
    drawn = np.clip(rng.normal(mean, spread, shape), real.min(), real.max())
    return torch.from_numpy(np.asarray(drawn)).to(tensor.dtype)


def _asked(interface: Interface, inputs: Tensors, sizes: Mapping[str, int]) -> Case:
    try:
        with quiet():
            given = [tensor.clone() for tensor in inputs]  # forward may write into its inputs
            answer = named_outputs(interface.call(given), interface.names)
    except RAISED as error:
        shapes = ", ".join(
            f"{name}{list(t.shape)}" for name, t in zip(interface.names, inputs, strict=True)
        )
        raise ModelError(
            "E-EXAMPLE",
            f"the module fails on {shapes}: {reason(error)} ({user_line(error)})",
            hint="give example inputs whose range and shape are those of real ones",
        ) from error
    return Case(inputs, {name: array(tensor) for name, tensor in answer.items()}, sizes)
