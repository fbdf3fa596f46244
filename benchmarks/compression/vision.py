"""Channel pruning, distillation and int8 against the float network, on Fashion-MNIST.

Usage: ``python benchmarks/compression/vision.py [IMAGES]``; ``FASHION_MNIST`` names the folder of
the data, as in the vision template. With 20,000 training images (the default) it takes about
20 CPU minutes on one thread, and writes ``benchmarks/results/compression_vision.json``.
``... vision.py smoke`` runs all of it on 2,000 images in a minute or two and only
prints; it scores the images kept out for selection, so that trying it shows no test image.

The float network is the template's at twice the widths: so small a network as the template's
takes 35 microseconds a run, and there int8 was slower than float (1.13 against 0.66 for the same
student). That was seen before the widths were set; no accuracy decided them.

A fifth of the training images is never trained on: it selects weights, and the largest fraction of
``FRACTIONS`` whose int8 student loses at most ``ALLOWED`` there (the smallest, where none does).
The official 10,000 test images are scored once, at the end, paired. A network of the student's
widths, drawn anew, is trained with labels alone for as many epochs as the float network and the
student together. Times are those of ``neutral_timer.py``: CPU time, batch 1, one thread,
interleaved fresh sessions.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import onnxruntime as ort
import torch
from torch import nn

import edgepack
from edgepack.base.files import write_whole
from edgepack.base.reference import load_object
from edgepack.base.stats import clustered_mean, t_quantile
from edgepack.compress import Context, apply, private_copy
from edgepack.compress.distill import Distill
from edgepack.compress.finetune import Finetune
from edgepack.compress.prune_channels import PruneChannels
from edgepack.data.metrics.top1 import Top1
from edgepack.data.samples import open_dataset
from edgepack.data.split import hold_out
from edgepack.spec import target
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.spec.step import Step
from edgepack.training.losses import cross_entropy
from edgepack.training.material import stack

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULT = HERE.parent / "results" / "compression_vision.json"
TEMPLATE = Path(edgepack.__file__).parent / "templates" / "vision"
FACE = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 28, 28)),),
    (TensorSpec("scores", "float32", ("batch", 10)),),
)
FRACTIONS = (0.25, 0.375, 0.5)
"""Of the channels; tried in this order, until one loses too much."""
ALLOWED = 0.005
WIDTHS = (64, 128, 256, 256)
"""Of the float network."""
SEED = 0
COMMON: Mapping[str, Any] = {"selection": 0.2, "learning_rate": 0.01, "weight_decay": 0.01}
FLOAT, STUDENT = 8, 8
"""Epochs."""

NETS = """
from pathlib import Path
import model, torch
from model import example_inputs

def _load(name):
    state = torch.load(Path(__file__).with_name(name + ".pt"))
    widths = [t.shape[0] for t in state.values() if t.ndim == 4 and t.shape[1:] != (1, 3, 3)]
    network = model.Fashion((state["features.0.weight"].shape[0], *widths))
    network.load_state_dict(state)
    return network.eval()

def original(): return _load("original")
def student(): return _load("student")
def anew(): return _load("anew")
"""

Images = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Right = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Lab:
    """The data, a folder to work in, and the steps run on them."""

    def __init__(self, folder: Path, count: int, epochs: tuple[int, int]) -> None:
        os.environ["FASHION_MNIST_TRAINING"] = str(count)
        self.folder, (self.float_epochs, self.student_epochs) = folder, epochs
        for name in ("model.py", "data.py"):
            shutil.copy(TEMPLATE / name, folder)
        (folder / "nets.py").write_text(NETS)
        images, labels = self.labelled("training", count)
        arrays = {"image": images, "labels": labels}
        self._training = open_dataset(arrays, FACE, labelled=True)
        kept = stack(hold_out(self._training, COMMON["selection"], SEED).held)
        self.selection = kept.inputs["image"].numpy(), kept.labels.numpy()

    def labelled(self, part: str, count: int) -> tuple[Images, Any]:
        """Return the first images of a part of the data, shape ``(n, 1, 28, 28)``, and labels."""
        items = islice(self._called("data.py", part), count)
        samples, labels = zip(*items, strict=True)
        return np.concatenate([sample["image"] for sample in samples]), np.array(labels)

    def _called(self, file: str, name: str) -> Any:
        call: Any = load_object(f"{file}:{name}", self.folder)
        return call()

    def network(self) -> nn.Module:
        """Return the float network, untrained."""
        make: Any = load_object("model.py:Fashion", self.folder)
        torch.manual_seed(SEED)
        module: nn.Module = make(WIDTHS).eval()
        return module

    def run(self, module: nn.Module, step: Step, name: str, teacher: nn.Module) -> nn.Module:
        """Return what ``step`` makes of ``module``."""
        context = Context(
            target=target.load("x86_64", target.BUILT_IN),
            example=(torch.zeros(2, 1, 28, 28),),
            training=self._training,
            loss=cross_entropy,
            metric=Top1(),
            teacher=private_copy(teacher),
            folder=self.folder,
            checkpoint=self.folder / f"{name}.safetensors",
            tell=lambda sentence: print(f"{name}: {sentence}", file=sys.stderr),
        )
        return apply(step, name, module, context)[0]

    def bundle(self, module: nn.Module, name: str, recipe: str) -> dict[str, Any]:
        """Build a bundle, judged by the selection images; return its files and precision."""
        torch.save(module.state_dict(), self.folder / f"{name}.pt")
        images, labels = self.selection
        built = edgepack.build(
            str(self.folder / f"nets.py:{name}"),
            target="x86_64",
            recipe=recipe,
            calib=list(self._called("data.py", "calibration")),
            evaluation=[
                ({"image": image[None]}, int(label))
                for image, label in zip(images, labels, strict=True)
            ],
            metric="top1",
            max_drop=1.0,
            prefer="size",
            out=str(self.folder / f"{name}_{recipe}"),
            force=True,
        )
        onnx = self.folder / f"{name}_{recipe}.onnx"
        with zipfile.ZipFile(built.path) as archive:
            onnx.write_bytes(archive.read("model.onnx"))
        operators = built.manifest.precision.operators
        return {"onnx": str(onnx), "bundle_bytes": built.bytes, "operators": operators}


def right(onnx: str, images: Images, labels: Any) -> Right:
    """Return 1 for each image whose class was found, shape ``(n,)``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx, options, ["CPUExecutionProvider"])
    scores = [
        session.run(["scores"], {"image": images[start : start + 250]})[0]
        for start in range(0, len(images), 250)
    ]
    return (np.concatenate(scores).argmax(1) == labels).astype(np.float64)


def interval(values: Right) -> dict[str, Any]:
    """Return a mean over images with its 95 % interval."""
    mean, variance = clustered_mean(values, np.arange(len(values)))
    half = t_quantile(len(values) - 1) * variance**0.5
    return {"mean": mean, "interval": [mean - half, mean + half]}


def tried(
    lab: Lab, base: nn.Module, original: str
) -> Iterator[tuple[float, nn.Module, dict[str, Any]]]:
    """Yield fraction, student and how it does on the selection images, while it may lose more."""
    before = right(original, *lab.selection)
    for fraction in FRACTIONS:
        narrow = lab.run(base, PruneChannels(fraction=fraction), f"prune {fraction}", base)
        step = Distill(method="finetune", epochs=lab.student_epochs, seed=SEED, **COMMON)
        student = lab.run(narrow, step, f"distill {fraction}", base)
        found = lab.bundle(student, "student", "int8")
        lost = float((before - right(found["onnx"], *lab.selection)).mean())
        yield fraction, student, {"fraction": fraction, "lost_on_selection": lost}
        if lost > ALLOWED:
            return


def drawn(module: nn.Module) -> nn.Module:
    """Return the same network with weights drawn anew."""
    torch.manual_seed(SEED + 1)
    copy = private_copy(module)
    for part in copy.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return copy


def timed(lab: Lab, models: list[str]) -> dict[str, Any]:
    """Return the ratios of CPU time to the first model, without the paths."""
    feeds = lab.folder / "input.npz"
    np.savez(feeds, image=lab.selection[0][:1])
    command = [sys.executable, str(HERE.parent / "neutral_timer.py"), str(feeds), *models]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.replace(f"{lab.folder}/", ""))
    return {name: value for name, value in told.items() if name != "command"}


def main(count: int, epochs: tuple[int, int], tests: int) -> dict[str, Any]:
    """Train, choose, score once; return the figures. ``tests`` of 0 scores the images kept out."""
    with tempfile.TemporaryDirectory() as folder:
        lab, began = Lab(Path(folder), count, epochs), time.process_time()
        start = Finetune(epochs=lab.float_epochs, seed=SEED, **COMMON)
        base = lab.run(lab.network(), start, "float", lab.network())
        files = {"float": lab.bundle(base, "original", "float32")}
        choices = list(tried(lab, base, files["float"]["onnx"]))
        good = [item for item in choices if item[2]["lost_on_selection"] <= ALLOWED]
        fraction, student, _ = (good or choices[:1])[-1]
        again = Finetune(epochs=sum(epochs), seed=SEED, **COMMON)
        anew = lab.run(drawn(student), again, "anew", base)
        for name, module in (("student", student), ("anew", anew)):
            for recipe in ("float32", "int8"):
                files[f"{name} {recipe}"] = lab.bundle(module, name, recipe)
        test = lab.labelled("evaluation", tests) if tests else lab.selection
        hits = {name: right(file["onnx"], *test) for name, file in files.items()}
        return {
            "command": f"python {shlex.join(sys.argv)}",
            "versions": {"torch": torch.__version__, "onnxruntime": ort.__version__},
            "seed": SEED,
            "images": {"training": count, "kept out": len(lab.selection[1]), "test": len(test[1])},
            "settings": {**COMMON, "epochs": epochs, "allowed": ALLOWED, "fractions": FRACTIONS},
            "choice": {"tried": [told for *_, told in choices], "fraction": fraction},
            "rows": rows(files, hits),
            "training_cpu_seconds": round(time.process_time() - began),
            "timing": timed(lab, [file["onnx"] for file in files.values()]),
        }


def rows(files: Mapping[str, dict[str, Any]], hits: Mapping[str, Right]) -> dict[str, Any]:
    """Set every network beside the float one: accuracy, what it lost, how much smaller it is."""
    first, found = files["float"], {}
    for name, file in files.items():
        size = Path(file["onnx"]).stat().st_size
        found[name] = {
            "top1": float(hits[name].mean()),
            "lost": interval(hits["float"] - hits[name]),
            "onnx_bytes": size,
            "times_smaller": Path(first["onnx"]).stat().st_size / size,
            "bundle_bytes": file["bundle_bytes"],
            "bundle_times_smaller": first["bundle_bytes"] / file["bundle_bytes"],
            "operators": file["operators"],
        }
    student = hits["student int8"] - hits["anew int8"]
    return found | {"student int8 over anew int8": interval(student)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["smoke"]:
        print(json.dumps(main(2000, (2, 2), 0), indent=1))
    else:
        figures = main(int((sys.argv[1:] or ["20000"])[0]), (FLOAT, STUDENT), 10_000)
        write_whole(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
        print(RESULT)
