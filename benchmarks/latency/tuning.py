"""Does session tuning pay, and never cost? The tuned options against the default, measured anew.

Usage: ``python benchmarks/latency/tuning.py [OUT.json] [MODEL ...]``, about two minutes a model;
under ``taskset -c 0`` for one core, where CPU time decides and load hardly matters. Each model is
tuned as ``edgepack bench --tune`` does; where something was found, it is compared with the default
once more, in fresh sessions, under another seed. What is kept at its default takes the same time by
construction. Adds to the file (``benchmarks/results/tuning.json``), model by model.
"""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.nn import functional as f

sys.path.insert(0, str(Path(__file__).parents[1]))

import nets
from chain import chain

from edgepack.bench import subject
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.findings import Until
from edgepack.bench.record import Contestant, Options
from edgepack.bench.rivals import Arm, Rivals
from edgepack.bench.tuning import Search, tune
from edgepack.bench.verdict import Bars, Verdict

RESULTS = str(Path(os.path.relpath(Path(__file__).parents[1])) / "results" / "tuning.json")
BUDGET = 60.0
SEED = 7  # tuning itself takes 0


class Layer(nn.Module):
    """An encoder layer of BERT. Source: Devlin et al. 2018, arXiv:1810.04805, section 3."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take and return tokens, shape ``(1, tokens, width)``."""
        split = (1, x.shape[1], self.heads, x.shape[2] // self.heads)
        parts = [p(x).reshape(split).transpose(1, 2) for p in (self.query, self.key, self.value)]
        joined = f.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(x.shape)
        x = self.first(x + self.out(joined))
        return self.second(x + self.narrow(f.gelu(self.wide(x))))


class BertMini(nn.Module):
    """BERT-mini with random weights. Source: Turc et al. 2019, arXiv:1908.08962, table 1."""

    def __init__(self, layers: int = 4, width: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30522, width), nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Take ids of words, shape ``(1, tokens)``; return their vectors."""
        places = torch.arange(ids.shape[1])
        return self.layers(self.norm(self.words(ids) + self.places(places)))


def bert_mini(tokens: int = 128) -> onnx.ModelProto:
    """Return it as torch exports it."""
    torch.manual_seed(0)
    ids = torch.randint(0, 1000, (1, tokens))
    program = torch.onnx.export(BertMini().eval(), (ids,), dynamo=True, opset_version=18)
    assert program is not None
    return program.model_proto


MODELS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "bert_mini": bert_mini,
    "mobilenet_v2": nets.mobilenet_v2,
    "resnet18": nets.resnet18,
    "transformer-64x256": lambda: nets.transformer(64, 256, 2),
    "lstm-50x128": lambda: nets.lstm(50, 128),
    "ds_cnn": lambda: nets.ds_cnn(172),
    "chain": lambda: chain(100),
}


def again(one: subject.Subject, best: Options) -> Verdict:
    """Compare the tuned options with the default in fresh sessions."""
    sides = [Arm(Contestant(one.path, one.sha256, o), one.model) for o in (one.options, best)]
    terms = Terms(Until(Bars()), budget=BUDGET, seed=SEED)
    return Contest(Rivals(sides[0], sides[1], one.samples, "tuning"), terms).compare()[1]


def measure(path: Path) -> dict[str, Any]:
    """Tune one model and measure what that gave."""
    one = subject.read(path, None, {})
    before, start = os.getloadavg()[0], time.monotonic()
    found = tune(one, Search(BUDGET), lambda said: print(f"  {said}", file=sys.stderr))
    seconds = time.monotonic() - start
    kept = found.options == one.options
    verdict = None if kept else again(one, found.options)
    return {
        "seconds": round(seconds, 1),
        "default": found.rounds[0]["default"],
        "winner": found.winner,
        "shipped": found.session,
        "tuning_said": found.verdict and found.verdict.decision,
        "tuning_saw": found.verdict and found.verdict.ratio,
        "measured_again": 1.0 if verdict is None else verdict.ratio,
        "interval_99": None if verdict is None else verdict.interval,
        "processes": 0 if verdict is None else verdict.processes,
        "load": [before, os.getloadavg()[0]],
    }


def main(*words: str) -> None:
    """Measure the models of those names, or all; keep what others were measured before."""
    out = Path(next((word for word in words if word.endswith(".json")), RESULTS))
    names = [word for word in words if not word.endswith(".json")] or list(MODELS)
    figures = json.loads(out.read_text())["models"] if out.exists() else {}
    cores = len(os.sched_getaffinity(0))
    for name in names:
        print(name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.onnx")
            onnx.save(MODELS[name](), path)
            figures[f"{name}, {cores} cores"] = found = measure(path)
        record = {
            "command": f"python {shlex.join(sys.argv)}",
            "worst": max(each["measured_again"] for each in figures.values()),
            "models": figures,
        }
        out.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
