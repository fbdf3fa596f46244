"""A depthwise-separable net on the digits of the template, its channels thrown out of balance.

``python model.py OUT.onnx [even]`` trains it (seeded, a minute on one core) and exports it. Every
channel between two layers is scaled by ``exp(1.5 N(0, 1))`` and scaled back behind its Relu: the
function stays the same, as training may leave it, and one range per tensor no longer serves.
``even`` leaves that out.

Source of the failure: Nagel et al. 2019, arXiv:1906.04721, section 3 (MobileNetV2).
"""

import itertools
import runpy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import edgepack

DATA = str(Path(edgepack.__file__).parent / "templates/digits/data.py")
WIDTHS = (24, 48, 64, 64)
EPOCHS, BATCH, PEAK, SPREAD, SEED = 40, 64, 0.01, 1.5, 0


def layer(channels_in: int, channels_out: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and Relu."""
    convolution = nn.Conv2d(
        channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


class Net(nn.Module):
    """A convolution, three depthwise-separable blocks, a mean and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers = [layer(1, WIDTHS[0], 3)]
        for a, b in itertools.pairwise(WIDTHS):
            layers += [layer(a, a, 3, groups=a), layer(a, b, 1)]
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Linear(WIDTHS[-1], 10)

    def forward(self, image: Tensor) -> Tensor:
        """Return one score per digit."""
        scores: Tensor = self.classify(self.layers(image).mean((2, 3)))
        return scores


def train() -> Net:
    """Train on the training forms of the template, shifted at random by up to a pixel."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    samples, labels = zip(*runpy.run_path(DATA)["training"](), strict=True)
    images = torch.from_numpy(np.concatenate([sample["image"] for sample in samples]))
    truth = torch.tensor(labels)
    net = Net()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            down, right = torch.randint(0, 3, (2,)).tolist()
            moved = functional.pad(images[chosen], (1, 1, 1, 1))
            scores = net(moved[:, :, down : down + 8, right : right + 8])
            loss = functional.cross_entropy(scores, truth[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def unbalance(net: Net, spread: float = SPREAD) -> None:
    """Scale each channel behind its batch norm, and scale it back in the layer that reads it."""
    draw = torch.Generator().manual_seed(5)
    layers = list(net.layers)
    for index, part in enumerate(layers):
        factor = torch.exp(spread * torch.randn(part[0].out_channels, generator=draw))
        part[1].weight *= factor
        part[1].bias *= factor
        reader = layers[index + 1][0] if index + 1 < len(layers) else net.classify
        grouped = isinstance(reader, nn.Conv2d) and reader.groups > 1
        shape = (-1, 1, 1, 1) if grouped else (1, -1) + (1,) * (reader.weight.ndim - 2)
        reader.weight /= factor.reshape(shape)


def main(out: str, kind: str = "unbalanced") -> None:
    """Train, throw out of balance and export."""
    net = train()
    if kind != "even":
        unbalance(net)
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, 8, 8),),
        out,
        input_names=["image"],
        output_names=["scores"],
        external_data=False,
        dynamo=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
