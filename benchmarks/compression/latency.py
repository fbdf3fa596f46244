"""Channels pruned to a measured latency: is the network that comes back as fast as asked?

Usage: ``python benchmarks/compression/latency.py [NET ...]``; about 4 CPU minutes a network on one
thread. It writes ``benchmarks/results/compression_latency.json``.

Each network is pruned to 0.7, 0.5 and 0.3 of its time on this machine, then timed against the
original by ``neutral_timer.py``, which shares no code with edgepack: 15 rounds of fresh sessions.
``reached`` says whether 97.5 % of the rounds lie at or below what was asked. Weights are random:
time depends on shapes alone. ``by_macs`` is the share of the multiply-accumulates that are left,
and ``half`` the same network with half of its channels removed in the target's blocks.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import torch
from torch import Tensor, nn

import edgepack
from edgepack.base.files import write_whole
from edgepack.base.reference import load_object
from edgepack.bench.price import Price
from edgepack.compress import Context, apply, private_copy
from edgepack.compress.prune_channels import PruneChannels
from edgepack.export.source import Source
from edgepack.graph.write import to_bytes
from edgepack.intake.check import check
from edgepack.intake.clock import Watch
from edgepack.intake.request import Request
from edgepack.intake.source import export_module
from edgepack.spec import target
from edgepack.training.losses import cross_entropy

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULT = HERE.parent / "results" / "compression_latency.json"
TEMPLATE = Path(edgepack.__file__).parent / "templates" / "vision"
SHARES = (0.7, 0.5, 0.3)
TARGET = "x86_64"


class Residual(nn.Module):
    """Residual stages as ResNet-18 has them (He et al. 2015, arXiv:1512.03385), half as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, 2)
        widths = (32, 64, 128, 256)
        self.stages = nn.Sequential(
            *(Block(a, b) for a, b in zip((32, *widths), widths, strict=False))
        )
        self.head = nn.Linear(256, 100)

    def forward(self, image: Tensor) -> Tensor:
        """Return scores, shape ``(batch, 100)``."""
        found: Tensor = self.head(self.stages(self.stem(image)).mean((2, 3)))
        return found


class Block(nn.Module):
    """Two convolutions and what they are added to."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.first = _convolution(before, after, stride)
        self.second = nn.Sequential(
            nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        )
        self.short = (
            nn.Conv2d(before, after, 1, stride, bias=False) if stride == 2 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features at the resolution of the second convolution."""
        return torch.relu(self.second(self.first(x)) + self.short(x))


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


def residual() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the residual network and an image of 128x128."""
    return Residual().eval(), (torch.zeros(1, 3, 128, 128),)


def separable() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the network of the vision template, three times as wide."""
    make: Any = load_object("model.py:Fashion", TEMPLATE)
    return make((96, 192, 384, 384)).eval(), (torch.zeros(1, 1, 28, 28),)


NETS = {"residual": residual, "separable": separable}


def main(names: list[str]) -> None:
    """Prune and time each network at each share."""
    torch.set_num_threads(1)
    results = {name: one(name) for name in names or NETS}
    told = {
        "command": f"python {shlex.join(sys.argv)}",
        "load_average": os.getloadavg(),
        "target": TARGET,
        "results": results,
    }
    print(json.dumps(told, indent=1))
    write_whole(RESULT, json.dumps(told, indent=1).encode() + b"\n")


def one(name: str) -> dict[str, Any]:
    """Prune one network to every share, and by half of its channels."""
    torch.manual_seed(0)
    module, example = NETS[name]()
    with tempfile.TemporaryDirectory(prefix="edgepack-latency-") as folder:
        trial = Trial(Path(folder), module, example)
        found = {f"{share}": trial.run(PruneChannels(latency=share), share) for share in SHARES}
        found["half"] = trial.run(PruneChannels(fraction=0.5), 1.0)
    return found


class Trial:
    """One network, pruned in several ways."""

    def __init__(self, room: Path, module: nn.Module, example: tuple[Tensor, ...]) -> None:
        """Export the network as it is."""
        self._room, self._module, self._example, self._count = room, module, example, 0
        (room / "net.py").write_text("make = None\n")
        request = Request(
            model=f"{room}/net.py:make", targets=(TARGET,), recipe="float32", out=room
        )
        self._job = check(request)
        self._write("original.onnx", module)
        np.savez(room / "input.npz", **_sample(room / "original.onnx"))

    def run(self, step: PruneChannels, asked: float) -> dict[str, Any]:
        """Prune with ``step`` and time what is left, of which at most ``asked`` should be."""
        fitted = step.fit(target.load(TARGET, target.BUILT_IN))
        assert isinstance(fitted, PruneChannels)
        told: list[str] = []
        ctx = self._context(told)
        pruned, _record, said = apply(fitted, "prune_channels", self._module, ctx)
        self._write("pruned.onnx", pruned)
        timed = _timed(self._room)
        print(step, timed["ratio"], timed["ratio_range"], file=sys.stderr)
        return {
            "by_macs": float(said[-1].split()[0]),
            "measured_while_pruning": told,
            "widths": [len(m.weight) for m in pruned.modules() if isinstance(m, nn.Conv2d)],
            "blocks_of": fitted.round_to,
            "timed": timed,
            "reached": timed["ratio_range"][1] <= asked,
        }

    def _context(self, told: list[str]) -> Context:
        self._count += 1
        return Context(
            target=target.load(TARGET, target.BUILT_IN),
            example=self._example,
            training=None,
            loss=cross_entropy,
            metric=None,
            teacher=private_copy(self._module),
            folder=self._room,
            checkpoint=self._room / f"{self._count}.safetensors",
            tell=told.append,
            clock=Watch(self._job, self._example, Price()),
        )

    def _write(self, name: str, module: nn.Module) -> None:
        exported = export_module(Source(private_copy(module), self._example), self._job)
        (self._room / name).write_bytes(to_bytes(exported.model))


def _sample(model: Path) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    return {
        each.name: rng.random([d if isinstance(d, int) else 1 for d in each.shape], np.float32)
        for each in session.get_inputs()
    }


def _timed(room: Path) -> dict[str, Any]:
    timer = HERE.parent / "neutral_timer.py"
    names = [str(room / each) for each in ("input.npz", "original.onnx", "pruned.onnx")]
    answer = subprocess.run(
        [sys.executable, str(timer), *names], check=True, capture_output=True, text=True
    )
    found = json.loads(answer.stdout)
    return {**found[names[2]], "load_average": found["load_average"]}


if __name__ == "__main__":
    main(sys.argv[1:])
