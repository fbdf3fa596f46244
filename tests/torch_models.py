"""Tiny torch modules, one per trait that the exporter must survive or refuse."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class TorchEncoder(nn.Module):
    """Torch's own encoder over ``x`` (batch, 5, 8), with a causal mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        away = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        found: Tensor = self.encoder(x, mask=away)
        return found


class Packed(nn.Module):
    """An operator that no exporter of torch knows: both fail."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.special.bessel_j0(x)
        return found


ATTENTIONS = ("plain", "bool_mask", "float_mask", "scores_divided")
"""Ways to write attention; see ``Heads``."""


class Heads(nn.Module):
    """Self-attention of 4 heads over ``x [batch, tokens, 16]``, with a mask of 0 and 1."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = (part(x) for part in (self.q, self.k, self.v))
        q, k, v = (part.view(batch, tokens, 4, 4).transpose(1, 2) for part in parts)
        away = (1 - mask[:, None, None, :].float()) * -1e4
        if self.kind == "scores_divided":
            mixed = ((q @ k.transpose(-1, -2)) / 4**0.5 + away).softmax(-1) @ v
        else:
            kept = {"plain": None, "bool_mask": mask[:, None, None, :] > 0, "float_mask": away}
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=kept[self.kind])
        result: Tensor = self.o(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return result


@cache
def attention_onnx(kind: str, *, dynamo: bool) -> bytes:
    """Export ``Heads`` with open batch and tokens."""
    torch.manual_seed(0)
    module, axes = Heads(kind).eval(), {0: "batch", 1: "tokens"}
    example = (torch.zeros(2, 5, 16), torch.ones(2, 5, dtype=torch.int64))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making
        path = Path(folder) / "model.onnx"
        if dynamo:
            dims = {index: torch.export.Dim(name) for index, name in axes.items()}
            program = torch.onnx.export(
                module,
                example,
                input_names=["x", "mask"],
                output_names=["y"],
                dynamic_shapes=(dims, dims),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.save(path)
        else:
            torch.onnx.export(
                module,
                example,
                path,
                input_names=["x", "mask"],
                output_names=["y"],
                dynamic_axes={"x": axes, "mask": axes},
                dynamo=False,
                opset_version=17,
            )
        return path.read_bytes()
