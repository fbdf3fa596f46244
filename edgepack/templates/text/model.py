"""Two networks that read the first words of a mail: a transformer and a bidirectional LSTM.

Both are handed over untrained; ``train.py`` writes the weights that edgepack.toml names. To build
the LSTM, let ``source`` name ``make_bilstm`` and train it with ``python train.py bilstm``.

Source: Vaswani et al. 2017, arXiv:1706.03762, section 3 (here with the norm before each part).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
WORDS, LENGTH = 4096, 64  # as in data.py
CLASSES = 2


class Spam(nn.Module):
    """A transformer encoder, the mean over the words, a matrix.

    Shapes: ``tokens`` is int64 ``(batch, LENGTH)``, 0 where the mail has ended; ``scores`` is
    ``(batch, 2)``.
    """

    def __init__(self, width: int = 128, inner: int = 512, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.words, self.places = _table(WORDS, width), _table(LENGTH, width)
        self.layers = nn.ModuleList(_Layer(width, inner, heads) for _ in range(layers))
        self.drop, self.norm = nn.Dropout(0.3), nn.LayerNorm(width)
        self.classify = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return one score per class; the key becomes the name of the output."""
        real = (tokens != 0).float()
        hidden = self.drop(self.words(tokens) + self.places(torch.arange(tokens.shape[1])))
        blocked = (real - 1)[:, None, None, :] * 1e4
        for layer in self.layers:
            hidden = layer(hidden, blocked)
        return {"scores": self.classify(_mean(self.norm(hidden), real))}


class _Layer(nn.Module):
    """Attention and two matrices, each with a norm before and a way around it."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.drop = nn.Dropout(0.2)

    def forward(self, hidden: Tensor, blocked: Tensor) -> Tensor:
        normed = self.norm1(hidden)
        query, key, value = (
            part(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) * self.scale + blocked
        read = scores.softmax(3) @ value
        hidden = hidden + self.drop(self.out(read.transpose(1, 2).flatten(2)))
        inner = functional.relu(self.up(self.norm2(hidden)))
        answer: Tensor = hidden + self.drop(self.down(inner))
        return answer


class SpamLstm(nn.Module):
    """A bidirectional LSTM, the mean over the words, a matrix; shapes as of ``Spam``."""

    def __init__(self, width: int = 64, inner: int = 64) -> None:
        super().__init__()
        self.words = _table(WORDS, width)
        self.read = nn.LSTM(width, inner, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.3)
        self.classify = nn.Linear(2 * inner, CLASSES)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return one score per class."""
        hidden, _ = self.read(self.drop(self.words(tokens)))
        return {"scores": self.classify(self.drop(_mean(hidden, (tokens != 0).float())))}


def _table(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.1)  # torch's 1 lets rare words drown what is learned
    return table


def _mean(hidden: Tensor, real: Tensor) -> Tensor:
    """Return the mean over real words, shape ``(batch, width)``."""
    total = (hidden * real[:, :, None]).sum(1)
    return total / real.sum(1, keepdim=True).clamp(min=1)


def make_model() -> nn.Module:
    """Return the transformer; edgepack.toml names the file of its weights."""
    torch.manual_seed(SEED)
    return Spam().eval()


def make_bilstm() -> nn.Module:
    """Return the LSTM."""
    torch.manual_seed(SEED)
    return SpamLstm().eval()


def example_inputs() -> tuple[Tensor, ...]:
    """Return two short mails; export traces the network with them."""
    return (torch.arange(2 * LENGTH).view(2, LENGTH) % WORDS,)
