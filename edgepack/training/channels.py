"""Channels out of a module, group by group, through torch-pruning."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import nn

from edgepack.base import units
from edgepack.base.errors import ModelError, RequestError, nearest
from edgepack.export.interface import Interface, bind, named_outputs
from edgepack.training import heads
from edgepack.training.groups import LAYERS, Importance, dependencies, forward, understood

_STEPS = 100
"""Rounds in which an aim in MACs is approached; each removes about 1 % of the channels."""


@dataclass(frozen=True, slots=True)
class Aim:
    """How much is removed.

    Attributes:
        fraction: Of the channels of each group; or None.
        macs: Of the multiply-accumulates, kept; or None.
        multiple: What widths are multiples of.
    """

    fraction: float | None
    macs: float | None
    multiple: int


Shrink = Callable[[Interface, Sequence[nn.Module]], None]
"""Removes channels of a bound module, none of them from the outputs of the given layers."""


def prune(
    module: nn.Module, example: object, exclude: Iterable[str], shrink: Shrink
) -> Iterator[str]:
    """Remove channels of ``module`` in place; yield what was done.

    Args:
        module: In eval mode.
        example: Inputs, in any form that ``bind`` takes.
        exclude: Layers, by name, that keep their output channels.
        shrink: What removes.

    Raises:
        RequestError: ``exclude`` names no layer.
        ModelError: Nothing can be removed, or torch-pruning does not understand the module.
    """
    _refuse(module)
    face = bind(module, example)
    before, widths = _outputs(face), _widths(module)
    with torch.enable_grad(), _thawed(module) as frozen:
        macs, weights = _count(face)
        shrink(face, [*_excluded(module, exclude), *frozen, *_makers(face)])
        after = _count(face)
    changed = {n: (w, widths[n]) for n, w in _widths(module).items() if w != widths[n]}
    if not changed:
        raise ModelError(
            "E-PRUNE",
            f"no channel can be removed: {_shown(widths)}",
            hint="ask for more, or set round_to",
        )
    _check(face, before)
    for name, (now, then) in changed.items():
        yield f"{name}: {then} -> {now} channels"
    yield (
        f"{after[0] / macs:.3f} of the MACs and {after[1] / weights:.3f} of the parameters are left"
    )


def to_aim(aim: Aim, importance: Importance) -> Shrink:
    """Return what removes channels to an aim.

    Raises:
        ModelError: When it is called and the aim in MACs cannot be reached.
    """

    def shrink(face: Interface, kept: Sequence[nn.Module]) -> None:
        macs, _weights = _count(face)
        pruner = _pruner(face, aim, importance, kept)
        for _ in range(1 if aim.macs is None else _STEPS):
            if aim.macs is not None and _count(face)[0] <= aim.macs * macs:
                break
            with understood(face.module):
                pruner.step()
        left = _count(face)[0] / macs
        if aim.macs is not None and left > aim.macs:
            raise ModelError(
                "E-PRUNE",
                f"at most {units.percent(1 - left, 0)} of the MACs can be removed",
                hint=f"macs = {left:.2f} or more",
            )

    return shrink


def _refuse(module: nn.Module) -> None:
    """Refuse what has no channels, or channels that somebody else reads."""
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if (other := names.setdefault(id(parameter), name)) != name:
            raise ModelError(
                "E-PRUNE-SHARED",
                f"{other!r} and {name!r} are one tensor: a channel of one is a channel of both",
                hint="untie them, or prune by magnitude",
            )
    layers = [m for m in module.modules() if isinstance(m, LAYERS)]
    if not layers:
        raise ModelError(
            "E-PRUNE",
            "the module has no convolution or matrix whose channels can be removed",
            hint="prune_magnitude zeroes weights of any layer",
        )
    for name, child in module.named_modules():
        if isinstance(child, nn.RNNBase):
            raise ModelError(
                "E-PRUNE",
                f"{name!r} is a {type(child).__name__}: its hidden channels cannot be removed",
                hint="build it narrower and distill, or prune by magnitude",
            )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError(
            "E-TRAIN-FROZEN",
            "every parameter of the module is frozen: nothing may be removed",
            hint="requires_grad_() on what may be pruned",
        )


def _excluded(module: nn.Module, exclude: Iterable[str]) -> Iterator[nn.Module]:
    known = {name: m for name, m in module.named_modules() if isinstance(m, LAYERS)}
    for name in exclude:
        if name not in known:
            raise RequestError("E-CONFIG", f"no layer named {name!r}", hint=nearest(name, known))
        yield known[name]


def _makers(face: Interface) -> Iterator[nn.Module]:
    """Yield the layers whose channels are those of an output."""
    graph = dependencies(face)
    with understood(face.module):
        ends = {id(node) for node in graph.module2node.values() if not node.outputs}
        for child in face.module.modules():
            if isinstance(child, LAYERS) and child in graph.module2node:
                pruned = graph.get_pruner_of_module(child).prune_out_channels
                group = graph.get_pruning_group(child, pruned, idxs=[0])
                if any(
                    id(dep.target) in ends and graph.is_out_channel_pruning_fn(dep.handler)
                    for dep, _ in group
                ):
                    yield child


def _pruner(face: Interface, aim: Aim, importance: Importance, kept: Iterable[nn.Module]) -> Any:
    attention = heads.find(face, aim.multiple)
    with understood(face.module):
        return torch_pruning.pruner.BasePruner(
            face.module,
            face.example,
            importance=importance,
            global_pruning=aim.macs is not None,
            pruning_ratio=0.95 if aim.fraction is None else aim.fraction,
            max_pruning_ratio=0.95,
            iterative_steps=1 if aim.macs is None else _STEPS,
            ignored_layers=[*kept, *attention.whole],
            round_to=aim.multiple,
            forward_fn=forward(face),
            num_heads=attention.counts,
            in_channel_groups={},  # its defaults are shared by all pruners, and changed
            out_channel_groups={},
        )


def _count(face: Interface) -> tuple[float, float]:
    """Return MACs of one call with the example, and parameters."""
    args, kwargs = face.arguments(face.example)
    total = 0.0

    def count(layer: nn.Module, _given: Any, answer: Any) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        total += answer.numel() * weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in face.module.modules() if isinstance(m, LAYERS)]
    try:
        with torch.no_grad(), understood(face.module):
            face.module(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return total, float(sum(p.numel() for p in face.module.parameters()))


@contextlib.contextmanager
def _thawed(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Let gradients flow, which torch-pruning traces; yield the layers that were frozen."""
    frozen = [p for p in module.parameters() if not p.requires_grad]
    known = {id(p) for p in frozen}
    layers = [
        m for m in module.modules() if any(id(p) in known for p in m.parameters(recurse=False))
    ]
    for parameter in frozen:
        parameter.requires_grad = True
    try:
        yield layers
    finally:
        for layer in layers:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad = False


def _outputs(face: Interface) -> dict[str, torch.Size]:
    with torch.no_grad():
        found = named_outputs(face.call([t.clone() for t in face.example]), face.names)
    return {name: tensor.shape for name, tensor in found.items()}


def _check(face: Interface, before: dict[str, torch.Size]) -> None:
    with understood(face.module):
        after = _outputs(face)
    if after != before:
        raise ModelError(
            "E-PRUNE",
            f"removing channels changed the outputs from {before} to {after}",
            hint="exclude the layers that make them",
        )


def _widths(module: nn.Module) -> dict[str, int]:
    return {name: len(m.weight) for name, m in module.named_modules() if isinstance(m, LAYERS)}


def _shown(widths: dict[str, int]) -> str:
    return "widths " + ", ".join(f"{name} {width}" for name, width in list(widths.items())[:4])
