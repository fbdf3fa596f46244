"""Set the methods of compression beside each other on the digits that come with edgepack.

Usage: ``python benchmarks/compression/methods.py``; a CPU minute, one thread, writes
``benchmarks/results/compression_methods.json``.

Per seed a float network is trained, and what follows keeps the same samples out for selection, so
none of them was ever trained on. Three tables, all of half-width networks:

``importance``      which channels go; a fine-tuning.
``regularization``  training with a penalty; half of the channels go by l2; the same fine-tuning.
``distillation``    one student, pruned or drawn anew, trained with labels alone or under a teacher.
                    ``kd`` and ``finetune`` are one loss: on the pruned student they must agree.

Strengths of penalties are chosen by accuracy on forms 8 and 9, with one seed; all else was fixed
beforehand. Forms 10 to 14 (640 images) are scored once, at the end. Each difference has two 95 %
intervals, of Student: over images (means of the seeds) and over seeds (paired). A gain is claimed
where both lie above 0.
"""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
import msgspec
import numpy as np
import torch
from torch import nn

from edgepack.base.files import write_whole
from edgepack.base.reference import load_object
from edgepack.base.stats import clustered_mean, t_quantile
from edgepack.compress import Context, apply, private_copy
from edgepack.compress.distill import Distill
from edgepack.compress.finetune import Finetune
from edgepack.compress.prune_channels import PruneChannels
from edgepack.compress.regularize import Regularize
from edgepack.data.metrics.top1 import Top1
from edgepack.data.samples import open_dataset
from edgepack.spec import target
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.spec.step import Step
from edgepack.training.losses import cross_entropy

RESULT = Path(__file__).parents[1] / "results" / "compression_methods.json"
DIGITS = Path(target.__file__).parents[1] / "templates" / "digits"
FACE = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 8, 8)),),
    (TensorSpec("scores", "float32", ("batch", 10)),),
)
KINDS = ("l1", "l2", "huber")
SEEDS = (0, 1, 2)
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "l1": (1e-5, 1e-4, 1e-3),
    "l2": (1e-5, 1e-4, 1e-3),
    "huber": (1e-4, 1e-3, 1e-2),
}
COMMON: Mapping[str, Any] = {"selection": 0.2, "learning_rate": 0.005, "weight_decay": 0.01}
BASE, PENALIZED, AFTER, ANEW = 12, 6, 8, 12
"""Epochs of the float network, of the penalty, after pruning, of a student drawn anew."""
TEACHING: Mapping[str, Any] = {"temperature": 4.0, "alpha": 0.9}

Right = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Lab:
    """The data, and the steps run on them."""

    def __init__(self) -> None:
        images = load_object("data.py:_digits", DIGITS)
        assert callable(images)
        self._images, self._labels = images()
        arrays = {"image": self._images[:915], "labels": self._labels[:915]}
        self._training = open_dataset(arrays, FACE, labelled=True)

    def run(self, module: nn.Module, step: Step, teacher: nn.Module | None = None) -> nn.Module:
        """Return what ``step`` makes of ``module``."""
        with tempfile.TemporaryDirectory() as folder:
            context = Context(
                target=target.load("x86_64", target.BUILT_IN),
                example=(torch.zeros(2, 1, 8, 8),),
                training=self._training,
                loss=cross_entropy,
                metric=Top1(),
                teacher=private_copy(teacher or module),
                folder=Path(folder),
                checkpoint=Path(folder) / "step.safetensors",
                tell=lambda _sentence: None,
            )
            return apply(step, type(step).__name__, module, context)[0]

    def right(self, module: nn.Module, rows: slice) -> Right:
        """Return 1 for each image of ``rows`` whose digit was found."""
        with torch.no_grad():
            scores = module(torch.from_numpy(self._images[rows]))["scores"]
        found: Right = (scores.argmax(1).numpy() == self._labels[rows]).astype(np.float64)
        return found


CHOICE, HELD_OUT = slice(915, 1157), slice(1157, 1797)


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """Return the same network with weights drawn anew."""
    torch.manual_seed(seed)
    copy = private_copy(module)
    for part in copy.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return copy


def fresh() -> nn.Module:
    """Return the digits network, untrained."""
    network = load_object("model.py:Digits", DIGITS)
    assert callable(network)
    module: nn.Module = network()
    return module.eval()


def pruned(lab: Lab, module: nn.Module, kind: str) -> nn.Module:
    """Return ``module`` without the half of its channels that matter least."""
    return lab.run(module, PruneChannels(importance=kind, fraction=0.5))  # type: ignore[arg-type]


def regularized(lab: Lab, base: nn.Module, kind: str, strength: float, seed: int) -> nn.Module:
    """Return a network of half width after a penalty and a fine-tuning."""
    step = Regularize(
        penalty=kind,  # type: ignore[arg-type]
        strength=strength,
        epochs=PENALIZED,
        seed=seed,
        **COMMON,
    )
    narrow = pruned(lab, lab.run(base, step), "l2")
    return lab.run(narrow, Finetune(epochs=AFTER, seed=seed, **COMMON))


def students(lab: Lab, base: nn.Module, seed: int) -> dict[str, nn.Module]:
    """Return the students of one seed."""
    narrow = pruned(lab, base, "l2")
    found = {}
    for start, module, epochs in (("pruned", narrow, AFTER), ("anew", drawn(narrow, seed), ANEW)):
        fixed = {"epochs": epochs, "seed": seed, **COMMON}
        found[f"{start}: labels alone"] = lab.run(module, Finetune(**fixed))
        for method in ("softmax", "kd", "finetune"):
            if (start, method) != ("anew", "finetune"):  # it starts from weights, by definition
                step = Distill(method=method, **fixed, **TEACHING)  # type: ignore[arg-type]
                found[f"{start}: {method}"] = lab.run(module, step, base)
    return found


def compared(rows: Right, against: Right) -> dict[str, Any]:
    """Return the difference of two methods, both of shape ``(seeds, images)``."""
    found: dict[str, Any] = {}
    for name, values in (
        ("over_images", (rows - against).mean(0)),
        ("over_seeds", (rows - against).mean(1)),
    ):
        mean, variance = clustered_mean(values, np.arange(len(values)))
        half = t_quantile(len(values) - 1) * variance**0.5
        found |= {"difference": mean, name: [mean - half, mean + half]}
    found["gain_claimed"] = min(found["over_images"][0], found["over_seeds"][0]) > 0
    return found


def line(rows: Right, against: Right | None) -> dict[str, Any]:
    """Return the figures of one method."""
    seeds = rows.mean(1)
    figures: dict[str, Any] = {
        "mean": float(seeds.mean()),
        "standard_deviation": float(seeds.std(ddof=1)),
        "per_seed": seeds.tolist(),
    }
    return figures if against is None else figures | compared(rows, against)


def table(rows: Mapping[str, Right], best: str | None = None) -> dict[str, Any]:
    """Set every method beside ``best``, or the best of them."""
    best = best or max(rows, key=lambda name: float(rows[name].mean()))
    found = {name: line(row, None if name == best else rows[best]) for name, row in rows.items()}
    return {"against": best, "rows": found}


def main() -> None:
    """Train, choose, score once, write."""
    torch.set_num_threads(1)
    began, lab = time.process_time(), Lab()
    start = Finetune(epochs=BASE, **{**COMMON, "learning_rate": 0.01})
    bases = [lab.run(drawn(fresh(), s), msgspec.structs.replace(start, seed=s)) for s in SEEDS]
    tried = {
        kind: {s: regularized(lab, bases[0], kind, s, SEEDS[0]) for s in STRENGTHS[kind]}
        for kind in KINDS
    }
    choice = {
        kind: {s: float(lab.right(m, CHOICE).mean()) for s, m in row.items()}
        for kind, row in tried.items()
    }
    chosen = {kind: max(row, key=lambda s: (row[s], -s)) for kind, row in choice.items()}
    made: dict[str, list[nn.Module]] = {}
    for seed, base in zip(SEEDS, bases, strict=True):
        tune = Finetune(epochs=AFTER, seed=seed, **COMMON)
        found = {"float": base} | students(lab, base, seed)
        for kind in KINDS:
            found[f"importance {kind}"] = lab.run(pruned(lab, base, kind), tune)
            found[f"penalty {kind}"] = regularized(lab, base, kind, chosen[kind], seed)
        for name, module in found.items():
            made.setdefault(name, []).append(module)
    rows = {
        name: np.stack([lab.right(module, HELD_OUT) for module in modules])
        for name, modules in made.items()
    }
    report(rows, {"accuracy_on_forms_8_and_9": choice, "strengths": chosen}, began)


def report(rows: Mapping[str, Right], choice: dict[str, Any], began: float) -> None:
    """Write the figures."""
    halves = {name: row for name, row in rows.items() if name.startswith(("importance", "penalty"))}
    taught = {
        start: {name: row for name, row in rows.items() if name.startswith(start)}
        for start in ("pruned", "anew")
    }
    epochs = {"float": BASE, "penalty": PENALIZED, "after pruning": AFTER, "anew": ANEW}
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "seeds": SEEDS,
        "images": {"training and selection": 915, "choice": 242, "held out": 640},
        "settings": {**COMMON, **TEACHING, "epochs": epochs, "strengths tried": STRENGTHS},
        "choice": choice,
        "float": line(rows["float"], None),
        "half of the channels": table(halves),
        "distillation": {
            start: table(found, f"{start}: labels alone") for start, found in taught.items()
        },
        "cpu_seconds": round(time.process_time() - began),
    }
    write_whole(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
