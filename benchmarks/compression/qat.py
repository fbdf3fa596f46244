"""What training under rounding recovers where rounding after training loses 2 points or more.

Usage: ``python benchmarks/compression/qat.py``; about two CPU minutes, one thread, writes
``benchmarks/results/compression_qat.json``.

A depthwise-separable net learns the digits that come with edgepack, once per seed; its channels are
then thrown out of balance without a change of what it computes (``benchmarks/models/unbalanced``).
Two roundings for the target x86_64: one 8-bit scale per weight, and 4-bit weights with a scale per
channel, simulated in int8. For each

``after``   the net is rounded as it is, from calibrated ranges;
``longer``  it is first trained on in float, for as long as ``qat``; weights that no later epoch
            beats on the selection split are kept, so this can be ``after`` again;
``qat``     it is trained under the rounding.

All start from the same weights and keep the same fifth of the training forms 1 to 7 out for
selection. Ranges come from forms 8 and 9. Forms 10 to 14 (640 images) are scored once, at the end,
on the graph that would ship, by the runtime in exact mode. Each difference has two 95 % intervals,
of Student: over images (means of the seeds) and over seeds (paired).
"""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from edgepack.base.files import write_whole
from edgepack.base.reference import load_object
from edgepack.base.stats import clustered_mean, t_quantile
from edgepack.compress import Context, apply, private_copy
from edgepack.compress.finetune import Finetune
from edgepack.compress.qat import Qat
from edgepack.data.metrics.top1 import Top1
from edgepack.data.samples import open_dataset
from edgepack.export import ExportRequest, export
from edgepack.gate.candidates import Smaller, rewrite, write_static
from edgepack.gate.fusion import fusion
from edgepack.graph.write import to_bytes
from edgepack.plan import plan
from edgepack.runtime.session import Options, Session
from edgepack.spec import target
from edgepack.spec.recipe import Recipe
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.spec.step import Step
from edgepack.training.losses import cross_entropy
from edgepack.training.twin import RoundedTwin

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "compression_qat.json"
DIGITS = Path(target.__file__).parents[1] / "templates" / "digits"
UNBALANCED = ROOT / "models" / "unbalanced"
FACE = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 8, 8)),),
    (TensorSpec("output", "float32", ("batch", 10)),),
)
EXAMPLE = (torch.zeros(2, 1, 8, 8),)
SEEDS = (0, 1, 2, 3, 4, 5)
BASE, MORE = 10, 8
"""Epochs of the float network, and of what follows."""
COMMON: Mapping[str, Any] = {"selection": 0.2, "batch_size": 64}
PEAK, RATE = 0.01, 0.003
"""Learning rates of the float network, and of what follows."""
SPREAD = 0.75
"""Channels are scaled by ``exp(SPREAD N(0, 1))``; at 0.5, 8 bits lose next to nothing, at 1.5 all.
Chosen on forms 8 and 9 with one seed, after training under rounding had failed to bring back 8 bits
at 1.5 (10 % of what was lost)."""
PLAN = plan(
    Recipe("own", graph=({"use": "tidy"}, {"use": "fold_batchnorm"}, {"use": "quantize_static"})),
    target.load("x86_64", target.BUILT_IN),
)
TRAINING, RANGES, HELD_OUT = slice(0, 915), slice(915, 1157), slice(1157, 1797)

Right = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Kind = tuple[Literal[4, 7, 8], Literal["channel", "tensor"]]
KINDS: Mapping[str, Kind] = {
    "8 bits, one scale per weight": (8, "tensor"),
    "4-bit weights, a scale per channel": (4, "channel"),
}


class Lab:
    """The data, and the steps run on them."""

    def __init__(self) -> None:
        images = load_object("data.py:_digits", DIGITS)
        assert callable(images)
        self._images, self._labels = images()
        arrays = {"image": self._images[TRAINING], "labels": self._labels[TRAINING]}
        self._training = open_dataset(arrays, FACE, labelled=True)
        self._ranges = open_dataset({"image": self._images[RANGES]}, FACE, labelled=False)

    def run(self, module: nn.Module, step: Step) -> nn.Module:
        """Return what ``step`` makes of ``module``."""
        with tempfile.TemporaryDirectory() as folder:
            context = Context(
                target=PLAN.target,
                example=EXAMPLE,
                training=self._training,
                loss=cross_entropy,
                metric=Top1(),
                teacher=private_copy(module),
                folder=Path(folder),
                checkpoint=Path(folder) / "step.safetensors",
                tell=lambda _sentence: None,
                write=self.written,
            )
            return apply(step, type(step).__name__, module, context)[0]

    def written(self, module: nn.Module) -> tuple[ir.Model, ir.Model]:
        """Return the graph of ``module`` before and after its quantization."""
        request = ExportRequest(EXAMPLE, dynamic={"image": ("batch",)})
        found = write_static(PLAN, export(module, request).model, FACE, self._ranges)
        return found.model, found.written

    def rounded(self, module: nn.Module, kind: Kind) -> RoundedTwin:
        """Return ``module`` as it is, under a rounding."""
        graphs = self.written(module)
        return RoundedTwin(Qat(bits=kind[0], scales=kind[1]).rounding(graphs, PLAN.target)).eval()

    def right(self, module: nn.Module) -> Right:
        """Return 1 for each held-out image whose digit a float network finds."""
        with torch.no_grad():
            return self._right(module(torch.from_numpy(self._images[HELD_OUT])).numpy())

    def shipped(self, twin: RoundedTwin) -> "Shipped":
        """Score the graph that would ship, and hold it against what was trained."""
        made = Smaller(twin.model(), (), (), twin.learned())
        model = rewrite(PLAN, made.model, FACE, self._ranges, made).candidates[0].model
        session = Session(to_bytes(model), Options(exact=True))
        images = self._images[HELD_OUT]
        scores = np.concatenate([session.run({"image": i[None]})["output"] for i in images])
        with torch.no_grad():
            trained = twin({"image": torch.from_numpy(images)})["output"].numpy()
        away = float(np.abs(scores - trained).max() / np.abs(scores).max())
        same = float((scores.argmax(1) == trained.argmax(1)).mean())
        unfused = sum(not each.end for each in fusion(model).left)
        return Shipped(self._right(scores), away, same, unfused)

    def _right(self, scores: np.ndarray[Any, Any]) -> Right:
        found: Right = (scores.argmax(1) == self._labels[HELD_OUT]).astype(np.float64)
        return found


@dataclass(frozen=True, slots=True)
class Shipped:
    """A graph, scored.

    Attributes:
        right: 1 for each held-out image whose digit it finds.
        away: Largest difference of a score from what was trained, of the largest score.
        same: Share of images on which both decide alike.
        unfused: Pairs inside the graph that the runtime left standing.
    """

    right: Right
    away: float
    same: float
    unfused: int


def drawn(seed: int) -> nn.Module:
    """Return the untrained network of one seed."""
    network = load_object("model.py:Net", UNBALANCED)
    assert callable(network)
    torch.manual_seed(seed)
    module: nn.Module = network()
    return module.eval()


def unbalanced(module: nn.Module) -> nn.Module:
    """Return a copy whose channels are out of balance and which computes the same."""
    throw = load_object("model.py:unbalance", UNBALANCED)
    assert callable(throw)
    copy = private_copy(module)
    throw(copy, SPREAD)
    return copy


def forms(lab: Lab, seed: int) -> dict[str, Any]:
    """Return what every way gives for one seed."""
    base = lab.run(drawn(seed), Finetune(epochs=BASE, learning_rate=PEAK, seed=seed, **COMMON))
    start = unbalanced(base)
    after = {"epochs": MORE, "learning_rate": RATE, "seed": seed, **COMMON}
    longer = lab.run(start, Finetune(**after))
    found: dict[str, Any] = {"float": lab.right(start), "float, trained on": lab.right(longer)}
    for name, kind in KINDS.items():
        trained = lab.run(start, Qat(bits=kind[0], scales=kind[1], **after))
        assert isinstance(trained, RoundedTwin)
        found[name] = {
            "after": lab.shipped(lab.rounded(start, kind)),
            "longer": lab.shipped(lab.rounded(longer, kind)),
            "qat": lab.shipped(trained),
        }
        print(seed, name, {way: float(s.right.mean()) for way, s in found[name].items()})
    return found


def compared(rows: Right, against: Right) -> dict[str, Any]:
    """Return the difference of two ways, both of shape ``(seeds, images)``."""
    found: dict[str, Any] = {}
    for name, values in (
        ("over_images", (rows - against).mean(0)),
        ("over_seeds", (rows - against).mean(1)),
    ):
        mean, variance = clustered_mean(values, np.arange(len(values)))
        half = t_quantile(len(values) - 1) * variance**0.5
        found |= {"difference": mean, name: [mean - half, mean + half]}
    return found


def table(seeds: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the figures of one rounding."""
    floats = np.stack([seed["float"] for seed in seeds])
    ways = {
        way: np.stack([seed[kind][way].right for seed in seeds])
        for way in ("after", "longer", "qat")
    }
    lost = float(floats.mean() - ways["after"].mean())
    figures: dict[str, Any] = {"lost after training": lost}
    for way, rows in ways.items():
        figures[way] = {
            "mean": float(rows.mean()),
            "per_seed": rows.mean(1).tolist(),
            "against float": compared(rows, floats),
        }
        if way != "after":
            gained = float(rows.mean() - ways["after"].mean())
            figures[way] |= {
                "against after": compared(rows, ways["after"]),
                "recovered": gained / lost if lost > 0 else None,
            }
    figures["qat"]["against longer"] = compared(ways["qat"], ways["longer"])
    shipped = [seed[kind]["qat"] for seed in seeds]
    figures["shipped against trained"] = {
        "largest difference of a score, of the largest score": max(s.away for s in shipped),
        "images decided alike": min(s.same for s in shipped),
        "pairs left unfused inside the graph": max(s.unfused for s in shipped),
    }
    return figures


def main() -> None:
    """Train, score once, write."""
    torch.set_num_threads(1)
    began, lab = time.process_time(), Lab()
    seeds = [forms(lab, seed) for seed in SEEDS]
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "seeds": SEEDS,
        "images": {"training and selection": 915, "ranges": 242, "held out": 640},
        "settings": {
            **COMMON,
            "epochs": [BASE, MORE],
            "learning rates": [PEAK, RATE],
            "spread": SPREAD,
        },
        "target": PLAN.target.name,
        "float": [float(seed["float"].mean()) for seed in seeds],
        "float, trained on": [float(seed["float, trained on"].mean()) for seed in seeds],
        "roundings": {kind: table(seeds, kind) for kind in KINDS},
        "cpu_seconds": round(time.process_time() - began),
    }
    write_whole(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
