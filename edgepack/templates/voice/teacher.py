"""The teacher: Silero VAD, pretrained, from the package silero-vad (MIT licence).

It hears 64 samples of the past and 512 new ones per run, and carries an LSTM's state.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

NAME = "silero_vad_16k_sequence.onnx"
FRAME, CONTEXT = 512, 64


def path() -> Path:
    """Return the file of its weights, in the installed package or where SILERO_VAD says."""
    if named := os.environ.get("SILERO_VAD"):
        return Path(named)
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the teacher is missing: pip install --no-deps silero-vad, or set SILERO_VAD to its "
            f"{NAME}"
        )
    return Path(package.origin).with_name("data") / NAME


def frames(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what each run hears, shape ``(runs, 576)``, of whole frames after silence."""
    parts = audio.reshape(-1, FRAME)
    past = np.vstack([np.zeros((1, CONTEXT), np.float32), parts[:-1, -CONTEXT:]])
    return np.hstack([past, parts])


def probabilities(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the probability of speech in each frame, from a state of zeros."""
    state = np.zeros((1, 1, 128), np.float32)
    given = {"input": frames(audio), "h": state, "c": state}
    spoken: npt.NDArray[np.float32] = _session().run(None, given)[0]
    return spoken.reshape(-1)


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path(), options, ["CPUExecutionProvider"])
