"""A small detector of speech: a bank of filters, three convolutions, no state.

It is handed over untrained; ``train.py`` writes the weights that edgepack.toml names.
"""

import math

import torch
from torch import Tensor, nn

SEED = 0
RATE = 16_000
FRAME, PAST = 512, 13  # as in data.py
BANDS, TAPS = 24, 256
LOWEST, HIGHEST = 80.0, 7600.0  # Hz


class Voice(nn.Module):
    """Power in bands, its logarithm, convolutions over half a second.

    Shapes: ``audio`` is float32 ``(batch, (PAST + frames) * FRAME)``, 16-bit samples divided by
    32,768; ``scores`` is ``(batch, frames, 2)``: one decision for each frame after the first
    ``PAST``, which are only heard.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 2 * BANDS, TAPS, stride=TAPS, bias=False)
        self.filters.weight.data = _waves()
        self.level = nn.BatchNorm1d(BANDS)
        self.layers = nn.Sequential(
            nn.Conv1d(BANDS, width, 4, stride=2),  # from two rows a frame to one
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, dilation=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2, 1),
        )

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Return two scores per frame; the key becomes the name of the output."""
        power = self.filters(audio[:, None]).square()
        bands = power[:, :BANDS] + power[:, BANDS:]
        level = self.level((bands + 1e-5).log())
        return {"scores": self.layers(level).transpose(1, 2)}


def _waves() -> Tensor:
    """Return cosines, then sines, under a Hann window, spaced as pitch is heard (mel)."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    hertz = 700 * (10 ** (torch.linspace(low, high, BANDS) / 2595) - 1)
    phase = 2 * math.pi * hertz[:, None] * torch.arange(TAPS) / RATE
    waves = torch.cat([phase.cos(), phase.sin()]) * torch.hann_window(TAPS)
    scaled: Tensor = waves / math.sqrt(TAPS)
    return scaled[:, None]


def make_model() -> nn.Module:
    """Return the network; edgepack.toml names the file of its weights."""
    torch.manual_seed(SEED)
    return Voice().eval()


def example_inputs() -> tuple[Tensor, ...]:
    """Return two short recordings of noise; export traces the network with them."""
    torch.manual_seed(SEED)
    return (torch.randn(2, (PAST + 3) * FRAME) * 0.01,)
