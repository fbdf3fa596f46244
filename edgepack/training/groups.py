"""How torch-pruning is asked: dependency graph, importance of channels, its errors as ours."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch_pruning
from torch import nn

from edgepack.base.errors import ModelError
from edgepack.export.faults import RAISED, quiet, reason
from edgepack.export.interface import Interface, named_outputs
from edgepack.training.penalty import Kind, rho

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose output channels can be removed."""


def dependencies(face: Interface) -> Any:
    """Return torch-pruning's dependency graph of a module, traced with its example."""
    with understood(face.module):
        graph: Any = torch_pruning.DependencyGraph()
        return graph.build_dependency(face.module, face.example, forward_fn=forward(face))


class Importance(torch_pruning.importance.GroupMagnitudeImportance):  # type: ignore[misc]
    """The mean of ``rho(w)`` over the weights of each channel in a group."""

    def __init__(self, kind: Kind, delta: float) -> None:
        super().__init__(p=1, group_reduction="mean", normalizer="mean")
        self._kind, self._delta = kind, delta

    def __call__(self, group: Any) -> Any:
        """Let torch-pruning sum magnitudes over weights that hold ``rho`` for the time."""
        weights = {id(p): p for dep, _ in group for p in dep.target.module.parameters()}
        saved = {key: parameter.data for key, parameter in weights.items()}
        try:
            for parameter in weights.values():
                parameter.data = rho(parameter.data, self._kind, self._delta)
            return super().__call__(group)
        finally:
            for key, parameter in weights.items():
                parameter.data = saved[key]


def forward(face: Interface) -> Any:
    """Return how torch-pruning calls the module."""
    return lambda _module, tensors: list(named_outputs(face.call(tensors)).values())


@contextlib.contextmanager
def understood(module: nn.Module) -> Iterator[None]:
    """Turn what torch-pruning raises within into an error that names the module."""
    try:
        with quiet():
            yield
    except RAISED as error:
        raise ModelError(
            "E-PRUNE",
            f"torch-pruning does not understand {type(module).__name__}: {reason(error)}",
            hint="exclude the layer, or prune by magnitude",
        ) from error
