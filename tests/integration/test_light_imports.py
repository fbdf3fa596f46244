"""Fresh interpreters, and a look at what they imported; a linter cannot see importlib."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

import edgepack
from edgepack.bundle import golden
from edgepack.bundle.pack import pack
from edgepack.spec.manifest import Manifest

HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "scipy", "sympy", "cryptography"}


def imported(code: str, *arguments: str) -> set[str]:
    """Run ``code`` in a new interpreter and return the top-level modules it ended with."""
    tail = "\nimport sys, json\nprint(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + tail, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(edgepack.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    text = Path(__file__).parents[1].joinpath("attacks", "manifest.json").read_text()
    plain: dict[str, Any] = json.loads(text)
    plain["runtime"]["arch"] = platform.machine()
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor(n, TensorProto.INT64, [1], [v])
            for n, v in (("s", 0), ("e", 3), ("a", 1))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.ones((2, 1, 4), np.float32)
    runs = golden.Golden({"x": x}, {"y": x[..., :3]})
    members = {"model.onnx": model.SerializeToString(), "golden.npz": golden.encode(runs)}
    path = tmp_path / "small.edgepack"
    path.write_bytes(pack(msgspec.convert(plain, Manifest), members))
    return path


def test_importing_edgepack_imports_nothing_heavy() -> None:
    assert not imported("import edgepack") & (HEAVY | {"onnxruntime", "numpy", "msgspec", "typer"})


def test_loading_and_running_a_bundle_needs_numpy_and_the_runtime_alone(bundle: Path) -> None:
    code = "import sys, edgepack; m = edgepack.load(sys.argv[1]); m.selftest()"
    found = imported(code, str(bundle))
    assert {"onnxruntime", "numpy", "msgspec"} <= found
    assert not found & (HEAVY | {"typer", "rich"})


def test_describing_the_machine_does_not_import_the_runtime() -> None:
    code = "from edgepack.runtime import machine; machine.here(); machine.threads()"
    assert "onnxruntime" not in imported(code)


def test_reading_a_bundle_does_not_import_the_runtime(bundle: Path) -> None:
    code = "import sys; from edgepack.bundle.open import open_bundle; open_bundle(sys.argv[1])"
    assert "onnxruntime" not in imported(code, str(bundle))


@pytest.mark.parametrize("given", ["0", None])
def test_telemetry_is_off_unless_the_user_wants_it(
    given: str | None, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    else:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    code = (
        "import os, sys, edgepack; edgepack.load(sys.argv[1]);"
        f"assert os.environ['ORT_DISABLE_TELEMETRY'] == {given or '1'!r}"
    )
    imported(code, str(bundle))


def test_the_public_names_are_few_and_all_there() -> None:
    names = [name for name in edgepack.__all__ if name != "build"]
    assert len(edgepack.__all__) <= 12
    assert all(getattr(edgepack, name).__module__.startswith("edgepack.") for name in names)
    assert {*edgepack.__all__, "__version__"} == set(dir(edgepack))
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = edgepack.biuld  # type: ignore[attr-defined]


def test_a_submodule_does_not_hide_the_public_name_it_is_the_home_of() -> None:
    code = (
        "import sys, types, edgepack\n"
        "sys.modules['edgepack.build'] = home = types.ModuleType('edgepack.build')\n"
        "home.build = len\n"
        "edgepack.build = home\n"  # what the import system does after importing a submodule
        "assert edgepack.build is len\n"
    )
    imported(code)


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    project = Path(edgepack.__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == edgepack.__version__


def test_help_is_printed_without_the_runtime_and_without_numpy() -> None:
    code = "from edgepack.cli import main\nassert main(['--help']) == 0"
    assert imported(code).isdisjoint(HEAVY | {"onnxruntime", "numpy", "rich"})
