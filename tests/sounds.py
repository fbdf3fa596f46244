"""Recordings that nobody made, in the folders and form of Asterisk's, and a teacher for them."""

import wave
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOICES = ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June", "ru_RU_f_IvrvoiceRU")
UNHEARD = ("it_IT_f_Menardi", "it_IT_m_Carlo")
RATE = 8000


def write_sounds(folder: Path, prompts: int = 4) -> Path:
    """Write ``prompts`` hums of each voice, two that are none, and two pieces of music."""
    rng = np.random.default_rng(0)
    for pitch, voice in enumerate((*VOICES, *UNHEARD)):
        for number in range(prompts):
            hum = np.sum([_tone((110 + 20 * pitch) * k, 1.3) / k for k in (1, 2, 3, 5)], axis=0)
            _write(
                folder / "sounds" / voice / "digits" / f"{number}.wav", hum * rng.uniform(0.8, 1)
            )
        for name in ("beep", "silence/2"):
            _write(folder / "sounds" / voice / f"{name}.wav", _tone(1000, 1.3))
    for name in ("macroform-a", "reno_project-b"):
        _write(folder / "moh" / f"{name}.wav", _tone(2500, 4) + _tone(3100, 4))
    return folder


def write_teacher(path: Path) -> Path:
    """Write a model with the teacher's inputs and outputs; loud frames are speech to it."""
    loud, quiet = np.array(1000, np.float32), np.array(-4, np.float32)
    nodes = [
        helper.make_node("Mul", ["input", "input"], ["power"]),
        helper.make_node("ReduceMean", ["power"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "loud"], ["scaled"]),
        helper.make_node("Add", ["scaled", "quiet"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probs"]),
        helper.make_node("Identity", ["h"], ["hn"]),
        helper.make_node("Identity", ["c"], ["cn"]),
    ]
    shapes: dict[str, list[str | int]] = {"input": ["N", 576], "probs": ["N"]}
    shapes |= {name: [1, 1, 128] for name in ("h", "c", "hn", "cn")}
    infos = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "teacher",
        [infos[name] for name in ("input", "h", "c")],
        [infos[name] for name in ("probs", "hn", "cn")],
        [numpy_helper.from_array(loud, "loud"), numpy_helper.from_array(quiet, "quiet")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def _tone(hertz: float, seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE))


def _write(path: Path, sound: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, len(sound), "NONE", ""))
        file.writeframes((sound / np.abs(sound).max() * 20000).astype("<i2").tobytes())
