"""Generated apps take raw input as ``edgepack.load`` does, bit for bit."""

import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image as Pillow

import edgepack
from edgepack.cli import main
from tests import raws

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (11, 4, 3), np.uint8)
BILINEAR, AREA, NEAREST = (f'resize = "{how}"\n' for how in ("bilinear", "area", "nearest"))
CASES: dict[str, tuple[onnx.ModelProto, str, list[Any]]] = {
    "photo": (raws.image(3), raws.IMAGE + raws.IMAGENET + BILINEAR, [PHOTO]),
    "swapped": (raws.image(3, "NHWC"), raws.IMAGE + 'channels = "BGR"\nlayout = "NHWC"\n' + AREA,
                [PHOTO, PHOTO[:, :, 0], RNG.integers(0, 256, (9, 20, 4), np.uint8)]),
    "grey": (raws.image(1), raws.IMAGE + 'channels = "grey"\n' + NEAREST,
             [PHOTO, PHOTO[:5], PHOTO[:, :, 1]]),
    "words": (raws.text(), raws.TEXT, ["The CAT, on the mat!", "", "über größe 42 4 2 the cat"]),
    "pieces": (raws.text(mask=True),
               raws.TEXT + 'mask = "mask"\nsplit = "wordpiece"\nbegin = 2\nend = 3\n',
               ["The cats", "mats! Café's", "s" * 101, "unheard-of"]),
    "sound": (raws.audio(), raws.AUDIO, list(RNG.integers(-9999, 9999, (3, 4), np.int16))),
}  # fmt: skip
METHODS = {"words": "text", "pieces": "text", "sound": "samples"}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Case":
    with pytest.MonkeyPatch.context() as patch:
        model, declared, inputs = CASES[request.param]
        folder = tmp_path_factory.mktemp(request.param)
        bundle = raws.built(model, declared, folder, patch)
        loaded = edgepack.load(bundle, threads=1)
        wanted = [loaded.run_raw(raw)["y"].tobytes() for raw in inputs]
    return Case(request.param, bundle, inputs, wanted)


class Case:
    """A bundle, raw inputs, and the bytes that each must give."""

    def __init__(self, name: str, bundle: Path, inputs: list[Any], wanted: list[bytes]) -> None:
        self.name, self.bundle, self.inputs, self.wanted = name, bundle, inputs, wanted
        self.method = METHODS.get(name, "image")

    def embedded(self, language: str, folder: Path) -> Path:
        assert main(["embed", str(self.bundle), "--lang", language, "-o", str(folder)]) == 0
        return folder


def run(*command: str | Path, folder: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_python_app_takes_raw_input_as_load_does(case: Case, tmp_path: Path) -> None:
    app = case.embedded("python", tmp_path / "app")
    assert "raw input 0: the same bits" in run(sys.executable, "selftest.py", folder=app)
    np.savez(app / "raw.npz", *case.inputs)
    given = "str(each)" if case.method == "text" else "each"
    program = (
        "import sys; sys.modules['edgepack'] = None\n"
        "import numpy as np, raw\n"
        "model = raw.Model(threads=1)\n"
        "for each in np.load('raw.npz').values():\n"
        f"    print(model.predict_{case.method}({given}).y.tobytes().hex())"
    )
    found = run(sys.executable, "-c", program, folder=app).split()
    assert found == [data.hex() for data in case.wanted]


def test_a_python_app_reads_a_file_when_it_is_run(case: Case, tmp_path: Path) -> None:
    app = case.embedded("python", tmp_path / "app")
    Pillow.fromarray(np.zeros((5, 7, 3), np.uint8)).save(app / "image.png")
    with wave.open(str(app / "samples.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 9, "NONE", ""))
        file.writeframes(np.ones(9, np.int16).tobytes())
    given = {"image": "image.png", "samples": "samples.wav", "text": "the cat"}[case.method]
    said = run(sys.executable, "raw.py", given, folder=app)
    assert said.count("Outputs(y=array(") == (2 if case.method == "samples" else 1)
