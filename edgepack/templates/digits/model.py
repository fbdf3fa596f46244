"""A small convolutional network for 8x8 digits, trained on the spot in a few seconds.

Everything is seeded and runs on one thread, so two calls on one machine give the same weights.
"""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
EPOCHS = 20
BATCH = 64
PEAK = 0.01  # of the learning rate
CLASSES = 10


class Digits(nn.Module):
    """Three convolutions and a linear layer, about 97,000 weights.

    Shapes: ``image`` is float32 ``(batch, 1, 8, 8)`` in [0, 1]; ``scores`` is ``(batch, 10)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 32),
            *_convolution(32, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.classify = nn.Linear(128 * 2 * 2, CLASSES)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return one score per digit; the key becomes the name of the output."""
        return {"scores": self.classify(self.features(image))}


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    # No bias: the batch norm that follows has one, and both fold into the convolution.
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()


def make_model() -> nn.Module:
    """Train the network on the training images; about ten CPU seconds."""
    images, labels = _training_images()
    steps = EPOCHS * -(-len(images) // BATCH)
    with _repeatable():
        model = Digits()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
        for chosen in _batches(len(images)):
            scores = model(_moved(images[chosen]))["scores"]
            loss = functional.cross_entropy(scores, labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return model.eval()


def _batches(count: int) -> Iterator[Tensor]:
    for _ in range(EPOCHS):
        order = torch.randperm(count)
        yield from (order[start : start + BATCH] for start in range(0, count, BATCH))


def example_inputs() -> tuple[Tensor, ...]:
    """Return two blank images; export traces the network with them."""
    return (torch.zeros(2, 1, 8, 8),)


def _training_images() -> tuple[Tensor, Tensor]:
    # By path, so that this works from any folder and whatever else is called `data`.
    data = runpy.run_path(str(Path(__file__).with_name("data.py")))
    samples, labels = zip(*data["training"](), strict=True)
    images = np.concatenate([sample["image"] for sample in samples])
    return torch.from_numpy(images), torch.tensor(labels)


def _moved(images: Tensor) -> Tensor:
    """Shift each image by up to one pixel each way: a hand never writes twice in one place."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (1, 1, 1, 1))[:, 0]
    down, right = torch.randint(0, 3, (2, count, 1, 1))
    rows = down + torch.arange(height).view(1, -1, 1)
    columns = right + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(count).view(-1, 1, 1), rows, columns].unsqueeze(1)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Seed torch and keep it to one thread, then give back what the caller had set."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        torch.set_num_threads(1)  # sums of floats depend on how threads share them
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=strict)
            torch.set_num_threads(threads)
