"""Tiny torch modules, one per trait that the exporter must survive or refuse."""

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def seeded(module: type[M], seed: int = 0) -> M:
    """Make a module with weights that do not depend on chance, in eval mode."""
    torch.manual_seed(seed)
    return module().eval()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Digits(nn.Module):
    """Conv, BatchNorm, ReLU, Conv, pool, Linear: ``image`` (batch, 1, 8, 8) to (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)
        self.drop = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(image)))
        hidden = torch.relu(self.second(hidden)).mean((2, 3))
        scores: Tensor = self.head(self.drop(hidden))
        return scores


class Branch(nn.Module):
    """Twice or three times the input, by its sum."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x * 3


class BakedNumber(nn.Module):
    """Scales by a number read out of the tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x * int(x.max().item())


class Noise(nn.Module):
    """Adds noise, also in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Counter(nn.Module):
    """Answers differently each time."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class Nested(nn.Module):
    """Dictionaries and lists in, a dictionary out; one input is not used, one weight is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = self.a

    def forward(self, query: Tensor, context: dict[str, Tensor], *, scale: float = 1.0) -> object:
        mixed = self.b(self.a(query)) + context["bias"]
        return {"scores": mixed * scale, "both": [mixed, context["bias"] * 2]}


class Recurrent(nn.Module):
    """LSTM over ``tokens`` (batch, time): torch.export cannot leave its time axis dynamic."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.lstm(self.embed(tokens))[0][:, -1])
        return scores
