"""A depthwise-separable network for 28x28 images (Howard et al. 2017, arXiv:1704.04861, section 3).

It is handed over untrained; ``train.py`` writes the weights that edgepack.toml names.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

SEED = 0
CLASSES = 10
WIDTHS = (32, 64, 128, 128)
STRIDES = (2, 1, 2)


class Fashion(nn.Module):
    """One convolution, three separable ones, a matrix.

    Shapes: ``image`` is float32 ``(batch, 1, 28, 28)`` in [0, 1]; ``scores`` is ``(batch, 10)``.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        layers = [*_convolution(1, widths[0], 3, 1)]
        for (before, after), stride in zip(pairwise(widths), STRIDES, strict=True):
            layers += _convolution(before, before, 3, stride, groups=before)
            layers += _convolution(before, after, 1, 1)
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(widths[-1], CLASSES)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return one score per class; the key becomes the name of the output."""
        return {"scores": self.classify(self.features(image).mean((2, 3)))}


def _convolution(
    before: int, after: int, size: int, stride: int, groups: int = 1
) -> Iterator[nn.Module]:
    yield nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    yield nn.BatchNorm2d(after)
    yield nn.ReLU()


def make_model() -> nn.Module:
    """Return the network; edgepack.toml names the file of its weights."""
    torch.manual_seed(SEED)
    return Fashion().eval()


def example_inputs() -> tuple[Tensor, ...]:
    """Return two blank images; export traces the network with them."""
    return (torch.zeros(2, 1, 28, 28),)
