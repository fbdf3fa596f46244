"""Channel pruning, distillation and int8 against the float transformer, on SpamAssassin.

Usage: ``python benchmarks/compression/text.py``; ``SPAM_ASSASSIN`` names the folder of the mails,
as in the text template. It takes about 6 CPU minutes on one thread, and writes
``benchmarks/results/compression_text.json``. ``... text.py smoke`` runs all of it on 600 mails in
a minute or two and only prints; it scores the mails kept out for selection, so that trying it
shows no test mail.

The float network is the template's, trained as there. A fifth of the training mails is never
trained on: it selects weights, and the largest fraction of ``FRACTIONS`` whose int8 student loses
at most ``ALLOWED`` there (the smallest, where none does). The evaluation mails are scored once, at
the end, paired, with intervals over groups of near-duplicates. A network of the student's widths,
drawn anew, is trained with labels alone for as many epochs as the float network and the student
together. Times are those of ``neutral_timer.py``: CPU time, batch 1, one thread, interleaved fresh
sessions.
"""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from study import Row, Study, Task, drawn, part  # first: it sets the number of threads
from torch import __version__ as torch_version
from torch import nn, set_num_threads

from edgepack.base.files import write_whole
from edgepack.compress.distill import Distill
from edgepack.compress.finetune import Finetune
from edgepack.compress.prune_channels import PruneChannels
from edgepack.data.metrics.f1 import F1
from edgepack.spec.signature import Signature, TensorSpec

RESULT = Path(__file__).parents[1] / "results" / "compression_text.json"
FACE = Signature(
    (TensorSpec("tokens", "int64", ("batch", 64)),),
    (TensorSpec("scores", "float32", ("batch", 2)),),
)
FRACTIONS = (0.375, 0.5, 0.625)
"""Of the channels; tried in this order, until one loses too much."""
ALLOWED = 0.005
COMMON: Mapping[str, Any] = {"selection": 0.2, "weight_decay": 0.01, "seed": 0}
FLOAT, STUDENT = 5, 6
"""Epochs."""
RATE, STUDENT_RATE = 0.002, 0.003


def tried(
    study: Study, base: nn.Module, original: Row, epochs: int
) -> Iterator[tuple[float, nn.Module, Row]]:
    """Yield fraction, student and how it does on the mails kept out, while it may lose more."""
    before = study.scores(original["onnx"], study.kept_out)
    for fraction in FRACTIONS:
        step = PruneChannels(fraction=fraction, round_to=8)
        narrow = study.run(base, step, f"prune {fraction}")
        taught = Distill(method="finetune", epochs=epochs, learning_rate=STUDENT_RATE, **COMMON)
        student = study.run(narrow, taught, f"distill {fraction}", base)
        after = study.scores(study.bundle(student, "student", "int8")["onnx"], study.kept_out)
        told = study.against(before, after, study.kept_out)
        yield fraction, student, {"fraction": fraction, **told}
        if told["lost"] > ALLOWED:
            return


def main(folder: Path, epochs: tuple[int, int], most: int, *, test: bool) -> dict[str, Any]:
    """Train, choose, score once; return the figures."""
    began = time.process_time()
    study = Study(Task("text", FACE, F1(), COMMON["selection"], folder, most=most))
    start = Finetune(epochs=epochs[0], learning_rate=RATE, **COMMON)
    base = study.run(study.called("model.py", "make_model"), start, "float")
    files = {"float": study.bundle(base, "original", "float32")}
    choices = list(tried(study, base, files["float"], epochs[1]))
    good = [item for item in choices if item[2]["lost"] <= ALLOWED]
    fraction, student, _ = (good or choices[:1])[-1]
    again = Finetune(epochs=sum(epochs), learning_rate=STUDENT_RATE, **COMMON)
    anew = study.run(drawn(student), again, "anew")
    for name, module in (("student", student), ("anew", anew)):
        for recipe in ("float32", "int8"):
            files[f"{name} {recipe}"] = study.bundle(module, name, recipe)
    judged = part(study.opened("evaluation")) if test else study.kept_out
    return {
        "command": f"python {shlex.join(sys.argv)}",
        "torch": torch_version,
        "mails": {
            "training": len(study.training) - len(study.kept_out.labels),
            "kept out": len(study.kept_out.labels),
            "test": len(judged.labels),
            "groups of the test": len(set(judged.groups)),
        },
        "settings": {**COMMON, "epochs": epochs, "allowed": ALLOWED, "fractions": FRACTIONS},
        "choice": {"tried": [told for *_, told in choices], "fraction": fraction},
        "rows": study.table(files, judged),
        "training_cpu_seconds": round(time.process_time() - began),
        "timing": study.timed(files, study.kept_out.samples[0]),
    }


if __name__ == "__main__":
    set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if sys.argv[1:] == ["smoke"]:
            print(json.dumps(main(Path(scratch), (1, 1), 600, test=False), indent=1))
        else:
            figures = main(Path(scratch), (FLOAT, STUDENT), 1_000_000, test=True)
            write_whole(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
            print(RESULT)
