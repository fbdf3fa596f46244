"""Which layers feed attention, and into how many heads their channels are parted.

Channels of a query, key or value are laid out head by head, so as many must go from each head:
removing the least of them all would move channels from one head to the next, silently.

Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edgepack.export.interface import Interface


@dataclass(frozen=True, slots=True)
class Heads:
    """What a call of a module shows of its attention.

    Attributes:
        counts: Matrix -> heads into which its output channels are parted.
        whole: Layers whose channels cannot be removed: ``nn.MultiheadAttention``, and matrices
            whose output is parted in another way (queries, keys and values made at once).
    """

    counts: dict[nn.Module, int] = field(default_factory=dict)
    whole: list[nn.Module] = field(default_factory=list)


def find(face: Interface, multiple: int) -> Heads:
    """Call the module with its example and watch what becomes of the outputs of its matrices.

    Args:
        face: The module, and how to call it.
        multiple: Of channels; heads of other widths are left whole.
    """
    found = Heads()
    matrices = [m for m in face.module.modules() if isinstance(m, nn.Linear)]
    watch = _Watch(found, multiple)
    hooks = [matrix.register_forward_hook(watch.made_by) for matrix in matrices]
    try:
        with torch.no_grad(), watch:
            face.call([tensor.clone() for tensor in face.example])
    finally:
        for hook in hooks:
            hook.remove()
    for module in face.module.modules():
        if isinstance(module, nn.MultiheadAttention):
            found.whole.append(module)
    return found


class _Watch(TorchFunctionMode):
    """Follow tokens ``(..., tokens, channels)`` from the matrix that made them to their parting."""

    def __init__(self, found: Heads, multiple: int) -> None:
        super().__init__()
        self._found, self._multiple = found, multiple
        self._makers: dict[int, tuple[torch.Tensor, tuple[nn.Module, ...]]] = {}

    def made_by(self, matrix: nn.Module, _given: Any, answer: torch.Tensor) -> None:
        """Remember who made a tensor; the tensor is kept, so that its id stays its own."""
        if answer.ndim > 2:
            self._makers[id(answer)] = answer, (matrix,)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        if isinstance(answer, torch.Tensor):
            for given in args:
                _, makers = self._makers.get(id(given), (None, ()))
                if makers:
                    self._follow(given, answer, makers)
        return answer

    def _follow(
        self, given: torch.Tensor, answer: torch.Tensor, makers: tuple[nn.Module, ...]
    ) -> None:
        if answer.shape == given.shape:
            _, others = self._makers.get(id(answer), (None, ()))
            self._makers[id(answer)] = answer, tuple(dict.fromkeys((*others, *makers)))
        elif answer.ndim > given.ndim and answer.shape[: given.ndim - 1] == given.shape[:-1]:
            count, width = answer.shape[given.ndim - 1], answer.shape[-1]
            for maker in makers:
                if answer.ndim == given.ndim + 1 and width % self._multiple == 0:
                    self._found.counts[maker] = count
                else:
                    self._found.whole.append(maker)
