"""Where training stands after an epoch: a file that is whole or absent, and holds no code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors
import torch
from safetensors.torch import load, save

from edgepack.base.errors import MachineError
from edgepack.base.files import write_whole

Tensors = dict[str, torch.Tensor]


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a training is no tensor.

    Attributes:
        epoch: Epochs done.
        best: The best score on the selection split, None before the first.
        since: Epochs since then.
        done: Whether training is over.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    since: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole state, from which the rest of a training is the same to the byte.

    Attributes:
        progress: Counters and scores.
        model: Weights as they are.
        best: Weights as they were when the score was best.
        optimizer: ``INDEX/NAME`` -> state of the parameter with that index.
    """

    progress: Progress
    model: Tensors
    best: Tensors
    optimizer: Tensors


def write(path: Path, state: Checkpoint) -> None:
    """Write a checkpoint so that a reader sees the old one or the new one.

    Raises:
        MachineError: The disk is full or the cache cannot be written.
    """
    groups = {"model": state.model, "best": state.best, "optimizer": state.optimizer}
    tensors = {
        f"{group}:{name}": tensor.detach().cpu().clone().contiguous()
        for group, held in groups.items()
        for name, tensor in held.items()
    }
    progress = msgspec.json.encode(state.progress).decode()
    try:
        write_whole(path, save(tensors, {"progress": progress}))
    except MachineError as error:  # the cache is no output: -o does not move it
        hint = "free space, or let EDGEPACK_CACHE name another folder"
        raise MachineError(error.code, str(error), hint=hint) from error


def read(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None where there is none, or where it is damaged."""
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            held = (file.metadata() or {})["progress"]
        progress = msgspec.json.decode(held, type=Progress)
        tensors = load(path.read_bytes())
    except (OSError, KeyError, msgspec.ValidationError, safetensors.SafetensorError):
        return None
    parts: dict[str, Tensors] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(":")
        parts[group][rest] = tensor
    return Checkpoint(progress, parts["model"], parts["best"], parts["optimizer"])


def of_optimizer(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the state of every parameter, flat."""
    state: Mapping[int, Mapping[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": tensor
        for index, held in state.items()
        for name, tensor in held.items()
        if tensor is not None
    }


def into_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put back what ``of_optimizer`` returned."""
    state: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
