"""What ``text.py`` and ``voice.py`` share: steps run on one task, bundles, scores on one table."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import onnxruntime as ort
import torch
from torch import nn

import edgepack
from edgepack.base.reference import load_object
from edgepack.compress import Context, apply, private_copy
from edgepack.data.metrics import Metric
from edgepack.data.paired import paired_drop
from edgepack.data.samples import Dataset, open_dataset
from edgepack.data.split import hold_out
from edgepack.spec import target
from edgepack.spec.signature import Signature
from edgepack.spec.step import Step
from edgepack.training.losses import cross_entropy

SEED = 0
TEMPLATES = Path(edgepack.__file__).parent / "templates"
TIMER = Path(__file__).parents[1] / "neutral_timer.py"
Row = dict[str, Any]
Scores = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """A template, and what is asked of it.

    Attributes:
        template: Its name.
        face: The signature of its networks; one input.
        metric: What is scored.
        selection: Fraction of the training samples that chooses and is never trained on.
        folder: To work in.
        loss: What is made small.
        most: Training samples, at most.
        max_drop: What int8 may lose on the samples kept out before layers stay in float.
    """

    template: str
    face: Signature
    metric: Metric
    selection: float
    folder: Path
    loss: Callable[..., torch.Tensor] = cross_entropy
    most: int = 1_000_000
    max_drop: float = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Samples to score on: inputs of one run each, labels, groups that are not parted."""

    samples: list[Mapping[str, Any]]
    labels: list[Any]
    groups: list[int]


class Study:
    """The data of a task, and the steps run on them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.training = self.opened("training", task.most)
        self.kept_out = part(hold_out(self.training, task.selection, SEED).held)

    def called(self, file: str, name: str) -> Any:
        """Return what a function of the template returns."""
        call: Any = load_object(f"{file}:{name}", TEMPLATES / self.task.template)
        return call()

    def opened(self, name: str, most: int = 1_000_000) -> Dataset:
        """Return a labelled part of the template's data, or ``most`` samples spread over it."""
        items = list(self.called("data.py", name))
        items = items[:: -(-len(items) // most)]
        return open_dataset(items, self.task.face, labelled=True)

    def run(
        self, module: nn.Module, step: Step, name: str, teacher: nn.Module | None = None
    ) -> nn.Module:
        """Return what ``step`` makes of ``module``."""
        context = Context(
            target=target.load("x86_64", target.BUILT_IN),
            example=self.called("model.py", "example_inputs"),
            training=self.training,
            loss=self.task.loss,
            metric=self.task.metric,
            teacher=private_copy(teacher or module),
            folder=self.task.folder,
            checkpoint=self.task.folder / f"{name}.safetensors",
            tell=lambda sentence: print(f"{name}: {sentence}", file=sys.stderr),
        )
        return apply(step, name, module, context)[0]

    def bundle(self, module: nn.Module, name: str, recipe: str) -> Row:
        """Build a bundle, judged by the samples kept out; return its files and precision."""
        example = self.called("model.py", "example_inputs")
        program = self.task.folder / f"{name}.pt2"
        shape = enumerate(self.task.face.inputs[0].shape)
        free = {axis: torch.export.Dim.AUTO for axis, size in shape if isinstance(size, str)}
        torch.export.save(torch.export.export(module, example, dynamic_shapes=[free]), program)
        kept = self.kept_out
        out = self.task.folder / f"{name} {Path(recipe).stem}"
        built = edgepack.build(
            str(program),
            target="x86_64",
            recipe=recipe,
            calib=list(self.called("data.py", "calibration")),
            evaluation=list(zip(kept.samples, kept.labels, kept.groups, strict=True)),
            metric=self.task.metric.name,
            max_drop=self.task.max_drop,
            prefer="size",
            out=str(out),
            force=True,
        )
        onnx = out.with_suffix(".onnx")
        with zipfile.ZipFile(built.path) as archive:
            onnx.write_bytes(archive.read("model.onnx"))
        operators = built.manifest.precision.operators
        return {"onnx": onnx, "bundle_bytes": built.bytes, "operators": operators}

    def scores(self, onnx: Path, part: Part) -> Scores:
        """Return the outputs of a model on every sample."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(onnx, options, ["CPUExecutionProvider"])
        name = session.get_outputs()[0].name
        return [{name: session.run([name], sample)[0]} for sample in part.samples]

    def against(self, first: Scores, other: Scores, part: Part) -> Row:
        """Return both scores and the loss, with its 95 % interval over groups."""
        labels = [np.asarray(label) for label in part.labels]
        drop = paired_drop(self.task.metric, first, other, labels, part.groups)
        return {
            self.task.metric.name: drop.shipped,
            "lost": drop.drop,
            "interval": drop.interval,
            "method": drop.method,
        }

    def table(self, files: Mapping[str, Row], part: Part) -> dict[str, Row]:
        """Set every model beside the first: score, what it lost, how much smaller it is."""
        found = {name: self.scores(file["onnx"], part) for name, file in files.items()}
        first = next(iter(files))
        return {
            name: self.against(found[first], found[name], part) | _sizes(files[first], file)
            for name, file in files.items()
        } | {
            "anew int8 against student int8": self.against(
                found["student int8"], found["anew int8"], part
            )
        }

    def timed(self, files: Mapping[str, Row], sample: Mapping[str, Any]) -> Row:
        """Return the ratios of CPU time to the first model, in interleaved fresh sessions."""
        feeds = self.task.folder / "input.npz"
        np.savez(feeds, **sample)
        models = [str(file["onnx"]) for file in files.values()]
        command = [sys.executable, str(TIMER), str(feeds), *models]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        told = json.loads(done.stdout.replace(f"{self.task.folder}/", ""))
        return {name: value for name, value in told.items() if name != "command"}


def part(dataset: Dataset) -> Part:
    """Read a labelled data set into memory."""
    items = list(dataset)
    return Part(
        [item.samples[0] for item in items],
        [item.labels[0] for item in items],
        [item.group for item in items],
    )


def drawn(module: nn.Module) -> nn.Module:
    """Return the same network with weights drawn anew."""
    torch.manual_seed(SEED + 1)
    copy = private_copy(module)
    for child in copy.modules():
        if hasattr(child, "reset_parameters"):
            child.reset_parameters()
        if isinstance(child, nn.Embedding):
            nn.init.normal_(child.weight, std=0.1)  # as in the text template
    return copy


def _sizes(first: Row, file: Row) -> Row:
    size = file["onnx"].stat().st_size
    return {
        "onnx_bytes": size,
        "times_smaller": first["onnx"].stat().st_size / size,
        "bundle_bytes": file["bundle_bytes"],
        "bundle_times_smaller": first["bundle_bytes"] / file["bundle_bytes"],
        "operators": file["operators"],
    }
