"""A small detector of speech against the pretrained teacher that taught it (Silero VAD).

Usage: ``python benchmarks/compression/voice.py``; ``ASTERISK`` names the folder of the recordings
and ``SILERO_VAD`` the teacher's file, as in the voice template. It takes about 2 CPU minutes on
one thread, and writes ``benchmarks/results/compression_voice.json``. ``... voice.py smoke`` runs
all of it on 12 prompts of each voice in less than a minute and only prints; it scores the
calibration sequences, so that trying it shows no evaluation sequence.

Student and training are the template's; nothing is chosen here but which layers stay in float,
by what int8 loses on a fifth of the training sequences. Teacher and students are scored
once on the evaluation sequences, whose speakers, language and music no training saw: by area under
the curve against the labels, and for the students against the teacher's decisions, paired, with
intervals over sequences. The teacher was trained for speech anywhere, the student for these kinds
of gaps alone.

The evaluation was looked at before: once with recordings of silence labelled as speech (found by
what the teacher missed), and once with 100 prompts a voice and music at its own speed alone. How
much music and how many prompts train was then decided on a training voice and piece held out.

Times are those of ``neutral_timer.py``: CPU time per decision, one frame of 32 ms, one thread,
interleaved fresh sessions. The teacher carries its state; the student hears 13 past frames anew
each time. A second line times 32 decisions in one run of either.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import study  # first: it sets the number of threads
from study import TEMPLATES, Part, Row, Scores, Study, Task
from torch import __version__ as torch_version
from torch import nn

from edgepack.base.files import write_whole
from edgepack.data.metrics.auc import Auc
from edgepack.spec.signature import Signature, TensorSpec

RESULT = Path(__file__).parents[1] / "results" / "compression_voice.json"
FACE = Signature(
    (TensorSpec("audio", "float32", ("batch", "samples")),),
    (TensorSpec("scores", "float32", ("batch", "frames", 2)),),
)
FRAME, PAST = 512, 13
EPOCHS = 10


def train(epochs: int) -> nn.Module:
    """Return the student, trained as the template trains it."""
    sys.path.insert(0, str(TEMPLATES / "voice"))
    import model as networks
    import train as training

    student: nn.Module = training.taught(networks.make_model(), *training.chunks(), epochs)
    return student


def judged(lab: Study, *, test: bool) -> Part:
    """Return the evaluation sequences, or, to try it out, the calibration sequences."""
    if test:
        return study.part(lab.opened("evaluation"))
    import data

    found = list(data._sequences(data.TRAINING))[:: data.CALIBRATION]  # noqa: SLF001
    samples = [{"audio": data.heard(audio)} for audio, _ in found]
    return Part(samples, [labels for _, labels in found], list(range(len(found))))


def teacher_scores(part: Part) -> Scores:
    """Return what the teacher says of every frame, its state carried through each sequence."""
    import teacher

    heard = (sample["audio"][0, PAST * FRAME :] for sample in part.samples)
    return [{"prob": teacher.probabilities(audio)} for audio in heard]


def table(lab: Study, files: Mapping[str, Row], part: Part) -> dict[str, Row]:
    """Set the students beside the teacher: area, what it lost, how much smaller it is."""
    said = teacher_scores(part)
    decided = Part(
        part.samples, [(one["prob"] > 0.5).astype(np.int64) for one in said], part.groups
    )
    found: dict[str, Row] = {}
    for name, file in files.items():
        scores = said if name == "teacher" else lab.scores(file["onnx"], part)
        size = file["onnx"].stat().st_size
        found[name] = {
            **lab.against(said, scores, part),
            "auc_against_the_teacher": Auc().score(scores, decided.labels),
            "onnx_bytes": size,
            "times_smaller": files["teacher"]["onnx"].stat().st_size / size,
            "operators": file.get("operators"),
        }
    return found


def timed(lab: Study, files: Mapping[str, Row], sample: Mapping[str, Any]) -> dict[str, Row]:
    """Return ratios of CPU time for one decision in a run and for 32."""
    import teacher

    state = np.zeros((1, 1, 128), np.float32)
    found = {}
    for frames in (1, 32):
        audio = sample["audio"][:, 8 * FRAME : (8 + PAST + frames) * FRAME]
        heard = teacher.frames(audio[0])[PAST:]
        feeds = {"audio": audio, "input": heard, "h": state, "c": state}
        found[f"{frames} decisions"] = lab.timed(files, feeds)
    return found


def main(folder: Path, epochs: int, *, test: bool) -> dict[str, Any]:
    """Train, score once; return the figures."""
    began = time.process_time()
    student = train(epochs)
    import teacher

    lab = Study(Task("voice", FACE, Auc(), 0.2, folder, max_drop=0.005))
    weights = Path(shutil.copyfile(teacher.path(), folder / "teacher.onnx"))
    files: dict[str, Row] = {"teacher": {"onnx": weights}}
    for recipe in ("float32", "int8"):
        files[f"student {recipe}"] = lab.bundle(student, "student", recipe)
    part = judged(lab, test=test)
    return {
        "command": f"python {shlex.join(sys.argv)}",
        "torch": torch_version,
        "frames": {
            "training": sum(len(item.labels[0]) for item in lab.training),
            "judged": sum(len(label) for label in part.labels),
        },
        "sequences judged": len(part.labels),
        "epochs": epochs,
        "rows": table(lab, files, part),
        "training_cpu_seconds": round(time.process_time() - began),
        "timing": timed(lab, files, part.samples[0]),
    }


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    smoke = sys.argv[1:] == ["smoke"]
    if smoke:
        os.environ["ASTERISK_PROMPTS"] = "12"
    with tempfile.TemporaryDirectory() as scratch:
        figures = main(Path(scratch), 4 if smoke else EPOCHS, test=not smoke)
    if smoke:
        print(json.dumps(figures, indent=1))
    else:
        write_whole(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
        print(RESULT)
