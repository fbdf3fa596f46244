"""Generated Node.js apps, run by node itself."""

import json
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.cli import main
from tests import apps

MODULES = Path(__file__).parents[2] / ".node" / "node_modules"  # scripts/setup puts them there


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    there = shutil.which("node") and (MODULES / "onnxruntime-node").is_dir()
    apps.need(there, "no node, or no onnxruntime-node: scripts/setup")


def embedded(bundle: Path, folder: Path) -> Path:
    assert main(["embed", str(bundle), "--lang", "node", "-o", str(folder)]) == 0
    (folder / "node_modules").symlink_to(MODULES)
    return folder


def node(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["node", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apps.stripes(tmp_path_factory.mktemp("stripes"))


def test_a_node_app_passes_its_self_test(stripes: Path, tmp_path: Path) -> None:
    done = node(embedded(stripes, tmp_path / "app"), "selftest.mjs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("self-test passed\n")


def test_a_node_app_refuses_another_model(stripes: Path, tmp_path: Path) -> None:
    app = embedded(stripes, tmp_path / "app")
    (app / "model.onnx").write_bytes(b"x")
    done = node(app, "selftest.mjs")
    assert done.returncode == 1
    assert "is not the file this module was generated for" in done.stderr


def test_node_computes_what_load_does_within_the_golden_tolerance(
    stripes: Path, tmp_path: Path
) -> None:
    app = embedded(stripes, tmp_path / "app")
    image = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    (app / "x.json").write_text(json.dumps(image.ravel().tolist()))
    program = (
        "import { readFileSync } from 'node:fs';\n"
        "const { Model } = await import('./stripes.mjs');\n"
        "const data = Float32Array.from(JSON.parse(readFileSync('x.json')));\n"
        "const image = { data, dims: [3, 1, 8, 8] };\n"
        "const found = await (await Model.create()).predict({ image });\n"
        "console.log(JSON.stringify([...found.scores.data]));"
    )
    done = node(app, "--input-type=module", "-e", program)
    assert done.returncode == 0, done.stderr
    model = edgepack.load(stripes)
    want, far = model(image)["scores"], model.manifest.golden.tolerance["scores"]
    assert np.abs(np.reshape(json.loads(done.stdout), want.shape) - want).max() <= far


def test_a_node_app_carries_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = apps.echo(tmp_path, monkeypatch, "class")
    app = embedded(bundle, tmp_path / "app")
    program = (
        "const model = await (await import('./echo.mjs')).Model.create(), told = [];\n"
        "for (let i = 0; i < 4; i++) {\n"
        "  if (i === 3) model.reset();\n"
        "  const x = { data: new Float32Array([1, 1]), dims: [1, 2] };\n"
        "  told.push((await model.predict({ x })).class_.data[0]);\n}\n"
        "console.log(told.join(' '));"
    )
    assert node(app, "--input-type=module", "-e", program).stdout == "2 4 6 2\n"
    assert node(app, "selftest.mjs").returncode == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs the Node.js of an x86-64 CPU")
def test_integers_stay_exact_in_node_on_a_cpu_that_saturates(tmp_path: Path) -> None:
    qemu = shutil.which("qemu-x86_64")
    apps.need(qemu, "no qemu-x86_64: scripts/setup")
    app = embedded(apps.stripes(tmp_path, "arm64"), tmp_path / "app")
    words = [str(qemu), "-cpu", "Haswell", str(shutil.which("node")), "--jitless", "selftest.mjs"]

    def saturating() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=app, capture_output=True, text=True, check=False)

    done = saturating()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest difference 0,") == 8
    module = app / "stripes.mjs"
    module.write_text(module.read_text().replace('"session.x64quantprecision": "1"', ""))
    assert "self-test FAILED" in saturating().stdout
