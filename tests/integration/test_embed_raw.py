"""Generated apps take raw input as ``edgepack.load`` does, bit for bit."""

import json
import shutil
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
from tests import apps, c_apps, raws

MODULES = Path(__file__).parents[2] / ".node" / "node_modules"  # scripts/setup puts them there
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
    "ascii": (
        raws.text(), raws.TEXT + 'split = "ascii"\n', ["Caf\u00e9 on the MAT", "t\u00fche cat"]),
    "pieces": (raws.text(mask=True),
               raws.TEXT + 'mask = "mask"\nsplit = "wordpiece"\nbegin = 2\nend = 3\n',
               ["The cats", "mats! Café's", "s" * 101, "unheard-of"]),
    "sound": (raws.audio(), raws.AUDIO, list(RNG.integers(-9999, 9999, (3, 4), np.int16))),
}  # fmt: skip
METHODS = {"words": "text", "ascii": "text", "pieces": "text", "sound": "samples"}


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


PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "raw.h"

int main(int argc, char **argv) /* RUNTIME OPTION OPTION OPTION FILE ... */
{
    static _Alignas(8) char bytes[1 << 16];
    raw_error error = {{0}};
    raw_options options = {.runtime = argv[1][0] ? argv[1] : NULL, SIZES};
    raw_model *model = raw_create(&options, &error);
    raw_outputs out;

    for (int i = 5; model && i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        bytes[file ? fread(bytes, 1, sizeof bytes - 1, file) : 0] = 0;
        if (file)
            fclose(file);
        if (!raw_run_METHOD(model, (const void *)bytes, &out, &error))
            break;
        for (size_t k = 0; k < COUNT; k++)
            printf("%02x", ((const unsigned char *)out.y)[k]);
        puts("");
    }
    fputs(error.text, stderr);
    raw_destroy(model);
    return error.text[0] != 0;
}
"""
SIZES = """
        .image_width = atoi(argv[2]),
        .image_height = atoi(argv[3]),
        .image_channels = atoi(argv[4]),
"""


def c_program(case: Case) -> str:
    """Return a program that prints what the model gives for raw inputs in files."""
    text = PROGRAM.replace("METHOD", case.method).replace("COUNT", str(len(case.wanted[0])))
    return text.replace("SIZES", SIZES if case.method == "image" else "")


def check_c(case: Case, app: Path, command: list[str], runtime: str) -> None:
    """Hold a C app, built with ``c_program`` for its self-test, to what ``load`` gives."""
    for i, each in enumerate(case.inputs):
        data = each.encode() if isinstance(each, str) else each.tobytes()
        (app / f"{i}.bin").write_bytes(data)
    every = [f"{i}.bin" for i in range(len(case.inputs))]
    turns = [("", "", "", *every)]
    if case.method == "image":
        shapes = [(*each.shape, 1)[:3] for each in case.inputs]
        turns = [(str(w), str(h), str(c), f"{i}.bin") for i, (h, w, c) in enumerate(shapes)]
    found = ""
    for words in turns:
        done = c_apps.run(*command, "./selftest", runtime, *words, folder=app)
        assert done.returncode == 0, done.stderr
        found += done.stdout
    assert found.split() == [data.hex() for data in case.wanted]


def test_a_c_app_takes_raw_input_as_load_does(case: Case, tmp_path: Path) -> None:
    app = c_apps.made(case.embedded("c", tmp_path / "app"), flags=c_apps.SANITIZED)
    done = c_apps.run("./selftest", c_apps.RUNTIME, folder=app)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "raw input 0: the same bits" in done.stdout
    (app / "selftest.c").write_text(c_program(case))
    check_c(case, c_apps.made(app, flags=c_apps.SANITIZED), [], str(c_apps.RUNTIME))


COUNTER = """
#include <stdlib.h>
static int taken;
void *__real_malloc(size_t), *__real_calloc(size_t, size_t), *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t n) { taken++; return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t m) { taken++; return __real_calloc(n, m); }
void *__wrap_realloc(void *p, size_t n) { taken++; return __real_realloc(p, n); }
"""


def test_a_c_app_allocates_when_it_is_opened_and_not_when_it_runs(
    case: Case, tmp_path: Path
) -> None:
    app = case.embedded("c", tmp_path / "app")
    program = COUNTER + c_program(case)
    for before, after in (
        ("for (int i = 5", "int opened = taken;\n    for (int i = 5"),
        ("fputs(error.text, stderr)", 'fprintf(stderr, "%d %d", opened > 0, taken - opened)'),
    ):
        assert before in program
        program = program.replace(before, after)
    (app / "selftest.c").write_text(program)
    wrapped = ",".join(f"--wrap={name}" for name in ("malloc", "calloc", "realloc"))
    c_apps.made(app, f"LDFLAGS=-Wl,{wrapped}")
    given = case.inputs[0]
    (app / "0.bin").write_bytes(given.encode() if isinstance(given, str) else given.tobytes())
    shape = (*given.shape, 1)[:3] if case.method == "image" else (0, 0, 0)
    height, width, depth = map(str, shape)
    words = ("./selftest", c_apps.RUNTIME, width, height, depth, "0.bin", "0.bin")
    done = c_apps.run(*words, folder=app)
    assert (done.returncode, done.stderr) == (0, "1 0")
    assert len(done.stdout.split()) == 2


# Floats and tokens, and -O3: what an optimizer may fuse, it fuses here.
EMULATED = pytest.mark.parametrize("case", ["photo", "pieces", "sound"], indirect=True)


@EMULATED
def test_a_c_app_gives_the_same_bits_on_emulated_arm64(case: Case, tmp_path: Path) -> None:
    command = c_apps.arm64("cortex-a53")
    app = case.embedded("c", tmp_path / "app")
    (app / "selftest.c").write_text(c_program(case))
    c_apps.made(app, "CC=aarch64-linux-gnu-gcc", "EMBED_MODEL=1", flags=f"-O3 {c_apps.STRICT}")
    check_c(case, app, command, "")


@EMULATED
def test_a_c_app_gives_the_same_bits_on_emulated_armhf(case: Case, tmp_path: Path) -> None:
    command = c_apps.armhf("cortex-a7", tmp_path / "root")
    app = case.embedded("c", tmp_path / "app")
    (app / "selftest.c").write_text(c_program(case))
    flags = f"-O3 -mfpu=neon-vfpv4 {c_apps.STRICT}"
    c_apps.made(app, "CC=arm-linux-gnueabihf-gcc", flags=flags)
    check_c(case, app, command, str(c_apps.ARMHF))


def test_a_c_app_fails_its_self_test_where_raw_input_becomes_other_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = raws.built(raws.image(3), raws.IMAGE, tmp_path / "x", monkeypatch)
    app = c_apps.made(c_apps.embedded(bundle, tmp_path / "app"))
    raw = bytearray((app / "raw.bin").read_bytes())
    raw[0] ^= 1
    (app / "raw.bin").write_bytes(raw)
    done = c_apps.run("./selftest", c_apps.RUNTIME, folder=app)
    assert done.returncode == 1
    assert "raw input 0: OTHER BITS" in done.stdout


@pytest.mark.parametrize(
    ("declared", "sizes", "reason"),
    [
        (raws.IMAGE, ("9", "9", "3"), "the model takes images of 7x5 alone"),
        (raws.IMAGE, ("7", "5", "2"), "an image has 1, 3 or 4 channels"),
        (raws.IMAGE + AREA, ("-1", "5", "3"), "an image has 1 to 16384 pixels a side"),
    ],
)
def test_a_c_app_refuses_images_it_cannot_take(
    declared: str,
    sizes: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = raws.built(raws.image(3), declared, tmp_path / "x", monkeypatch)
    app = c_apps.embedded(bundle, tmp_path / "app")
    (app / "selftest.c").write_text(c_program(Case("photo", bundle, [], [b"x"])))
    c_apps.made(app, flags=c_apps.SANITIZED)
    done = c_apps.run("./selftest", c_apps.RUNTIME, *sizes, folder=app)
    assert (done.returncode, done.stderr) == (1, reason)


NODE = """
import { readFileSync } from "node:fs";
const { Model } = await import("./raw_.mjs");
const model = await Model.create(undefined, 1);
for (const [data, width, height] of JSON.parse(readFileSync("raw.json"))) {
  const given = typeof data === "string" ? data
    : width ? { data: Uint8Array.from(data), width, height } : Int16Array.from(data);
  console.log(Buffer.from((await model.predictMETHOD(given)).y.data.buffer).toString("hex"));
}
"""


def test_a_node_app_takes_raw_input_as_load_does(case: Case, tmp_path: Path) -> None:
    there = shutil.which("node") and (MODULES / "onnxruntime-node").is_dir()
    apps.need(there, "no node, or no onnxruntime-node: scripts/setup")
    app = case.embedded("node", tmp_path / "app")
    (app / "node_modules").symlink_to(MODULES)
    assert "raw input 0: the same bits" in run("node", "selftest.mjs", folder=app)
    given = [
        [each] if isinstance(each, str) else [each.ravel().tolist(), *each.shape[1::-1]]
        for each in case.inputs
    ]
    given = [each[:1] if case.method == "samples" else each for each in given]
    (app / "raw.json").write_text(json.dumps(given))
    (app / "try.mjs").write_text(NODE.replace("METHOD", case.method.title()))
    assert run("node", "try.mjs", folder=app).split() == [data.hex() for data in case.wanted]
