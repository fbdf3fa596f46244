"""Generated apps: built and run as a user would, without edgepack in sight."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgepack
from edgepack.cli import main
from tests import apps
from tests.apps import built
from tests.models import proto, value


def embedded(bundle: Path, language: str, folder: Path) -> Path:
    assert main(["embed", str(bundle), "--lang", language, "-o", str(folder)]) == 0
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # -P and no PYTHONPATH: nothing but the app's own folder and installed packages
    code = "import sys; sys.path.insert(0, '.'); sys.modules['edgepack'] = None\n"
    program = words[0] if words else "import selftest; sys.exit(selftest.main())"
    command = [sys.executable, "-P", "-c", code + program]
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apps.stripes(tmp_path_factory.mktemp("stripes"))


def test_a_python_app_passes_its_self_test_without_edgepack(stripes: Path, tmp_path: Path) -> None:
    done = python(embedded(stripes, "python", tmp_path / "app"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("self-test passed\n")


def test_a_python_app_refuses_another_model(stripes: Path, tmp_path: Path) -> None:
    app = embedded(stripes, "python", tmp_path / "app")
    model = app / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = python(app)
    assert done.returncode == 1
    assert "is not the file this module was generated for" in done.stderr


def test_a_python_app_fails_its_self_test_on_other_numbers(stripes: Path, tmp_path: Path) -> None:
    app = embedded(stripes, "python", tmp_path / "app")
    golden = dict(np.load(app / "golden.npz"))
    golden["output.scores"] = golden["output.scores"] + 1
    np.savez(app / "golden.npz", **golden)
    done = python(app)
    assert done.returncode == 1
    assert done.stdout.endswith("self-test FAILED\n")


def test_predict_takes_and_gives_what_load_does(stripes: Path, tmp_path: Path) -> None:
    app = embedded(stripes, "python", tmp_path / "app")
    image = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    np.save(app / "x.npy", image)
    program = (
        "import numpy as np, stripes\n"
        "np.save('y.npy', stripes.Model(threads=1).predict(np.load('x.npy')).scores)"
    )
    done = python(app, program)
    assert done.returncode == 0, done.stderr
    want = edgepack.load(stripes, threads=1)(image)["scores"]
    assert np.load(app / "y.npy").tobytes() == want.tobytes()


def test_ten_inputs_with_names_that_are_no_identifiers(tmp_path: Path) -> None:
    names = ["class", "a b", "a-b", "größe", "3d", "self", "np", "print", "*/ x", 'q"uote']
    kinds = [TensorProto.FLOAT] * 9 + [TensorProto.INT64]
    inputs = [value(name, [2, 3], kind) for name, kind in zip(names, kinds, strict=True)]
    nodes = [
        helper.make_node("Sum", names[:9], ["s"]),
        helper.make_node("Cast", [names[9]], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["s", "f"], ["return"]),
    ]
    outputs = [value("return", [2, 3])]
    bundle = built(proto(nodes, inputs=inputs, outputs=outputs), tmp_path, "für 2 \"\"\" '''")
    done = python(embedded(bundle, "python", tmp_path / "app"))
    assert done.returncode == 0, done.stdout + done.stderr


def recurrent() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Add", ["x", "h"], ["hn"]),
        helper.make_node("Mul", ["hn", "two"], ["y"]),
    ]
    x, h, y, hn = (value(name, [1, 2]) for name in ("x", "h", "y", "hn"))
    return proto(nodes, {"two": np.array(2, np.float32)}, inputs=[x, h], outputs=[y, hn])


def recurrent_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(recurrent(), folder / "model.onnx")
    text = '[model]\nsource = "model.onnx"\nstate = {hn = "h"}\n'
    (folder / "edgepack.toml").write_text(text)
    monkeypatch.chdir(folder)
    return edgepack.build(target="x86_64", recipe="float32", out=folder, name="echo").path


def test_a_python_app_carries_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = embedded(recurrent_bundle(tmp_path, monkeypatch), "python", tmp_path / "app")
    program = (
        "import numpy as np, echo\n"
        "model, x = echo.Model(), np.ones((1, 2), np.float32)\n"
        "told = [float(model.predict(x).y[0, 0]) for _ in range(3)]\n"
        "model.reset()\n"
        "print(told, float(model.predict(x).y[0, 0]))"
    )
    assert python(app, program).stdout == "[2.0, 4.0, 6.0] 2.0\n"
    assert python(app).returncode == 0


def test_a_destination_that_exists_is_refused_and_untouched(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app").mkdir()
    assert main(["embed", str(stripes), "--lang", "python", "-o", str(tmp_path / "app")]) == 2
    assert "error[E-EXISTS]" in capsys.readouterr().err
    assert not any((tmp_path / "app").iterdir())


def test_an_unknown_language_is_refused_with_the_nearest(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(stripes), "--lang", "pyton", "-o", str(tmp_path / "app")]) == 2
    assert "did you mean 'python'?" in capsys.readouterr().err
