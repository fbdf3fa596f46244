"""A torch model as a function of a flat list of named tensors, whatever its Python signature is."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils import _pytree as pytree

from edgepack.base.errors import ModelError

Subject: TypeAlias = torch.nn.Module | torch.export.ExportedProgram
Tensors: TypeAlias = tuple[torch.Tensor, ...]
Axes: TypeAlias = Mapping[int, str]
"""Axis -> name of its size, for one tensor."""


@dataclass(frozen=True, slots=True)
class Interface:
    """How to call a model with a list of tensors, and how to name what goes in and comes out.

    Attributes:
        module: What is called.
        names: One per tensor: the parameter of ``forward``, or the key in a dictionary.
        example: The tensors, in the order of ``names``.
    """

    module: torch.nn.Module
    names: tuple[str, ...]
    example: Tensors
    _signature: inspect.Signature
    _leaves: tuple[object, ...]
    _tree: pytree.TreeSpec

    def call(self, tensors: Sequence[torch.Tensor]) -> object:
        """Return what the module returns for ``tensors``."""
        args, kwargs = self.arguments(tensors)
        return self.module(*args, **kwargs)

    def arguments(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments that hold ``tensors``."""
        found = self._filled(list(tensors), keep=True)
        bound = inspect.BoundArguments(self._signature, found)
        return bound.args, bound.kwargs

    def shaped(self, axes: Sequence[object]) -> dict[str, Any]:
        """Return ``axes``, one entry per tensor, in the shape of the arguments of ``forward``."""
        return self._filled(list(axes), keep=False)

    @property
    def is_flat(self) -> bool:
        """Whether every argument is one tensor that can be passed by position."""
        by_name = any(p.kind is p.KEYWORD_ONLY for p in self._signature.parameters.values())
        return not by_name and len(self._leaves) == len(self.names) == self._tree.num_children

    def _filled(self, items: list[object], *, keep: bool) -> dict[str, Any]:
        rest = iter(items)
        leaves = [
            next(rest) if isinstance(leaf, torch.Tensor) else (leaf if keep else None)
            for leaf in self._leaves
        ]
        found: dict[str, Any] = pytree.tree_unflatten(leaves, self._tree)
        return found


def bind(module: torch.nn.Module, example: object) -> Interface:
    """Fit example inputs to the parameters of ``module.forward``.

    Args:
        module: What is called.
        example: A tensor or array, a sequence of arguments, or a mapping from the parameters of
            ``forward`` to arguments; arguments may be nested.

    Raises:
        ModelError: The example does not fit ``forward``, or holds no tensor.
    """
    signature = _signature(module)
    if isinstance(example, Mapping):
        by_name = all(key in signature.parameters for key in example)
        return _bind(module, () if by_name else (example,), example if by_name else {})
    return _bind(module, example if isinstance(example, list | tuple) else (example,), {})


def bind_program(program: torch.export.ExportedProgram) -> Interface:
    """Take the example inputs that a program was exported with.

    Raises:
        ModelError: It holds none.
    """
    if program.example_inputs is None:
        raise ModelError("E-EXAMPLE", "the program holds no example inputs")
    args, kwargs = program.example_inputs
    return _bind(program.module(check_guards=False), args, kwargs)


def _bind(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Interface:
    signature = _signature(module)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ModelError(
            "E-EXAMPLE",
            f"the example inputs do not fit forward{signature}: {error}",
            hint="give a tuple in the order of forward's parameters, or a dict by their names",
        ) from error
    arguments = pytree.tree_map(_tensor, dict(bound.arguments))
    paths, tree = pytree.tree_flatten_with_path(arguments)
    leaves = tuple(leaf for _, leaf in paths)
    names = [_name(path) for path, leaf in paths if isinstance(leaf, torch.Tensor)]
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
    if not tensors:
        raise ModelError("E-EXAMPLE", "the example inputs hold no tensor")
    return Interface(module, unique(names), tensors, signature, leaves, tree)


def named_outputs(result: object, taken: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """Name the tensors that a module returned: keys of a dictionary, else ``output``, ``output_1``.

    Args:
        result: What the module returned.
        taken: Names of inputs; an output of the same name gets ``_out`` behind.

    Raises:
        ModelError: There is no tensor in it.
    """
    paths, _ = pytree.tree_flatten_with_path(result)
    found = [(path, leaf) for path, leaf in paths if isinstance(leaf, torch.Tensor)]
    if not found:
        raise ModelError("E-EXPORT", f"the module returns no tensor but {type(result).__name__}")
    keyed = [_name(path) if _has_key(path) else "output" for path, _ in found]
    names = unique([f"{name}_out" if name in taken else name for name in keyed])
    return {name: leaf for name, (_, leaf) in zip(names, found, strict=True)}


def _signature(module: torch.nn.Module) -> inspect.Signature:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):  # a scripted module: its parameters have no Python names
        return inspect.signature(_any_forward)


def _any_forward(*input: torch.Tensor) -> None:  # noqa: A002 - the name that inputs then get
    """Stand in for a ``forward`` that cannot be looked at."""


def _tensor(leaf: object) -> object:
    return torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf


def _has_key(path: Sequence[object]) -> bool:
    return any(isinstance(key, pytree.MappingKey | pytree.GetAttrKey) for key in path)


def _name(path: Sequence[object]) -> str:
    """Name a leaf by its innermost key, with the positions below it."""
    parts: list[str] = []
    for key in reversed(path):
        if isinstance(key, pytree.MappingKey):
            parts.append(str(key.key))
            break
        if isinstance(key, pytree.GetAttrKey):
            parts.append(key.name)
            break
        if isinstance(key, pytree.SequenceKey) and key.idx:
            parts.append(str(key.idx))
    return "_".join(reversed(parts)) or "output"


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Number the later ones of equal names: ``x``, ``x_1``."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        candidate = name
        while candidate in found:
            seen[name] += 1
            candidate = f"{name}_{seen[name]}"
        found.append(candidate)
    return tuple(found)
