"""Hints from inside a teacher: a student's features, projected, are drawn to the teacher's.

Source: Romero et al. 2015, arXiv:1412.6550 (FitNets), eq. (3), its squared distance divided by the
mean square of the teacher's features, so that one weight serves layers of any size.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from edgepack.base.errors import ModelError, RequestError, nearest
from edgepack.export.interface import Interface

_NAME = "edgepack_projections"
"""Of the projections while they train: part of the module, so that its optimizer and checkpoints
hold them; it leaves again."""

_CHANNELS_FIRST = (nn.Conv1d, nn.BatchNorm1d)
"""Layers with three axes whose channels come second, not last as in a sequence of vectors."""


class Matching:
    """Pairs of layers whose outputs should agree, and what the last forward passes gave there."""

    def __init__(self, student: Interface, teacher: Interface, pairs: Mapping[str, str]) -> None:
        """Look at the shapes that the example gives.

        Raises:
            RequestError: A name is no layer.
            ModelError: Shapes differ in more than channels.
        """
        self._student, self._teacher, self._pairs = student, teacher, dict(pairs)
        self._ours = {name: _layer(student.module, name, "student") for name in pairs}
        self._theirs = {name: _layer(teacher.module, name, "teacher") for name in pairs.values()}
        self._seen: dict[nn.Module, torch.Tensor] = {}
        self._projections = nn.ModuleDict()

    @contextmanager
    def attached(self, seed: int) -> Iterator[None]:
        """Listen to both networks, with the projections in the student, for as long as it lasts."""
        with ExitStack() as stack, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in {*self._ours.values(), *self._theirs.values()}:
                stack.callback(layer.register_forward_hook(self._hear).remove)
            self._projections = self._made()
            self._student.module.add_module(_NAME, self._projections)
            stack.callback(delattr, self._student.module, _NAME)
            yield

    def loss(self) -> torch.Tensor:
        """Return the mean distance of the pairs in the last pass of each network, a scalar."""
        parts = []
        for number, (ours, theirs) in enumerate(self._pairs.items()):
            wanted = _rows(self._seen[self._theirs[theirs]], self._theirs[theirs]).detach()
            given = _rows(self._seen[self._ours[ours]], self._ours[ours])
            found = self._projections[str(number)](given)
            parts.append((found - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12))
        return torch.stack(parts).mean()

    def _hear(self, layer: nn.Module, _given: object, answer: torch.Tensor) -> None:
        self._seen[layer] = answer

    def _made(self) -> nn.ModuleDict:
        """Return a projection per pair, drawn anew: the student's channels to the teacher's."""
        with torch.no_grad():
            for face in (self._student, self._teacher):
                face.call([tensor.clone() for tensor in face.example])
        found = nn.ModuleDict()
        for number, (ours, theirs) in enumerate(self._pairs.items()):
            a = _rows(self._seen[self._ours[ours]], self._ours[ours])
            b = _rows(self._seen[self._theirs[theirs]], self._theirs[theirs])
            if a.shape[:-1] != b.shape[:-1]:
                raise ModelError(
                    "E-TEACHER",
                    f"features of {ours!r} {list(a.shape)} and of the teacher's {theirs!r} "
                    f"{list(b.shape)} differ in more than the last axis, the channels",
                    hint="match layers of one resolution",
                )
            found[str(number)] = nn.Linear(a.shape[-1], b.shape[-1])
        return found


def _layer(module: nn.Module, name: str, whose: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(module.named_modules())
    if not name or name not in known:
        hint = nearest(name, known)
        raise RequestError("E-CONFIG", f"the {whose} has no layer {name!r}", hint=hint)
    return known[name]


def _rows(features: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """Return features with channels last, where a projection acts."""
    first = features.ndim > 3 or isinstance(layer, _CHANNELS_FIRST)
    return features.movedim(1, -1) if first else features
