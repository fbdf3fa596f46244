"""A torch task of seconds: stripes by a small convolutional net, and what compresses it."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgepack.compress import Context, private_copy
from edgepack.data.metrics.top1 import Top1
from edgepack.data.samples import Dataset, open_dataset
from edgepack.spec import target
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.training.losses import cross_entropy
from tests.projects import stripes

SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 8, 8)),),
    (TensorSpec("scores", "float32", ("batch", 2)),),
)
EXAMPLE = (torch.zeros(2, 1, 8, 8),)


class StripesNet(nn.Module):
    """Convolution, batch norm, a depthwise and a pointwise one with a residual add, a matrix."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(width, 2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(x + self.point(torch.relu(self.depth(x))))
        return {"scores": self.head(x.mean((2, 3)))}


class Plain(nn.Module):
    """No batch norm: what one process and two compute alike."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"scores": self.layers(image)}


def training_data(count: int = 128, seed: int = 5) -> Dataset:
    images, labels = stripes(count, seed)
    arrays = {"image": images, "labels": labels}
    return open_dataset(arrays, SIGNATURE, labelled=True)


def context(
    folder: Path, module: nn.Module, told: list[str] | None = None, name: str = "x86_64"
) -> Context:
    teacher = private_copy(module)
    return Context(
        target=target.load(name, target.BUILT_IN),
        example=EXAMPLE,
        training=training_data(),
        loss=cross_entropy,
        metric=Top1(),
        teacher=teacher,
        folder=folder,
        checkpoint=folder / "step.safetensors",
        tell=(told if told is not None else []).append,
    )


def made(kind: type[nn.Module] = StripesNet, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return kind().eval()


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def accuracy(module: nn.Module) -> float:
    images, labels = stripes(200, 9)
    with torch.no_grad():
        found = module(torch.from_numpy(images))["scores"].argmax(1).numpy()
    return float(np.mean(found == labels))
