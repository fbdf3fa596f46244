"""The command line as users meet it: exit codes, one error line and a hint, nothing left behind."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.projects import stripes, write_stripes


def edgepack(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepack", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_stripes(tmp_path)
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.onnx").write_bytes((folder / "model.onnx").read_bytes()[:500])
    (folder / "folder.onnx").mkdir()
    images, labels = stripes(32, 3)
    np.savez(folder / "nan.npz", image=np.where(images > 1.2, np.nan, images).astype("f4"))
    np.savez(folder / "wide.npz", image=images.astype(np.float64))
    np.savez(folder / "shape.npz", image=images[:, :, :7])
    np.savez(folder / "name.npz", imag=images, other=images)
    np.savez(folder / "bytes.npz", image=images * 255)
    np.savez(folder / "short.npz", image=images, labels=labels[:5])
    (folder / "text.npz").write_text("not a zip")
    (folder / "taken").mkdir()
    (folder / "taken" / "model-arm64.edgepack").write_bytes(b"precious")
    return folder


BAD = {
    "a missing model": (["nodel.onnx"], 2, "E-PATH"),
    "a directory": (["folder.onnx"], 2, "E-PATH"),
    "an empty model": (["empty.onnx"], 3, "E-MODEL-EMPTY"),
    "a truncated model": (["cut.onnx"], 3, "E-MODEL-CORRUPT"),
    "an unknown kind of model": (["calib.npz"], 2, "E-MODEL-KIND"),
    "wrong dtype": (["model.onnx", "--calib", "wide.npz"], 4, "E-DATA-DTYPE"),
    "wrong shape": (["model.onnx", "--calib", "shape.npz"], 4, "E-DATA-SHAPE"),
    "wrong name": (["model.onnx", "--calib", "name.npz"], 4, "E-DATA-NAME"),
    "NaN in calibration": (["model.onnx", "--calib", "nan.npz"], 4, "E-DATA-NAN"),
    "no zip in calibration": (["model.onnx", "--calib", "text.npz"], 4, "E-DATA"),
    "missing calibration": (["model.onnx", "--calib", "none.npz"], 2, "E-PATH"),
    "another scale": (
        ["model.onnx", "--calib", "bytes.npz", "--eval", "eval.npz"],
        4,
        "E-CAL-RANGE",
    ),
    "labels of another length": (["model.onnx", "--eval", "short.npz"], 4, "E-DATA"),
    "calibrating on the evaluation": (
        ["model.onnx", "--calib", "eval.npz", "--eval", "eval.npz"],
        4,
        "E-DATA-OVERLAP",
    ),
    "an unknown option": (["model.onnx", "--calibb", "calib.npz"], 2, "E-USAGE"),
    "an unknown metric": (["model.onnx", "--eval", "eval.npz", "--metric", "top2"], 2, "E-METRIC"),
    "an unknown recipe": (["model.onnx", "--recipe", "int9"], 2, "E-RECIPE"),
    "an unknown device": (["model.onnx", "--on", "qemu:cortex-a54"], 2, "E-"),
    "an output that exists": (["model.onnx", "-o", "taken"], 2, "E-EXISTS"),
    "int8 without data": (["model.onnx", "--require", "int8"], 4, "E-CAL-EMPTY"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_its_exit_code_one_line_and_a_hint(project: Path, case: str) -> None:
    args, code, name = BAD[case]
    before = sorted(path for path in project.rglob("*"))
    result = edgepack("build", *args, "-t", "arm64", "-q", cwd=project)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, result.stderr
    assert [line.split(":")[0] for line in lines] in (
        [lines[0].split(":")[0], "hint"],
        [lines[0].split(":")[0]],
    )
    assert lines[0].startswith(f"error[{name}")
    assert result.stdout == ""
    assert (project / "taken" / "model-arm64.edgepack").read_bytes() == b"precious"
    assert sorted(path for path in project.rglob("*")) == before


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["build", "model.onnx", "-t", "arm46"], "arm64"),
        (["build", "model.onnx", "-t", "arm64", "--calibb", "x"], "--calib"),
        (["bild", "model.onnx"], "build"),
        (["targets", "raspbery-pi-4"], "raspberry-pi-4"),
        (["recipes", "int88"], "int8"),
        (["init", "digit"], "digits"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(
    project: Path, args: list[str], hint: str
) -> None:
    result = edgepack(*args, cwd=project)
    assert result.returncode == 2
    assert hint in result.stderr.splitlines()[-1]


def test_json_is_one_object_on_stdout_and_progress_on_stderr(project: Path) -> None:
    result = edgepack(
        "build", "model.onnx", "-t", "web", "--calib", "calib.npz", "--json", cwd=project
    )
    assert result.returncode == 0, result.stderr
    (bundle,) = json.loads(result.stdout)["bundles"]
    assert bundle["manifest"]["format"] == "edgepack/1"
    assert "rewriting the graph" in result.stderr
    for args in (["inspect", bundle["path"]], ["plan", "-t", "cuda"], ["targets"], ["doctor"]):
        assert json.loads(edgepack(*args, "--json", cwd=project).stdout)


def test_plan_says_where_session_options_will_be_tuned_and_why_not(tmp_path: Path) -> None:
    (tmp_path / "edgepack.toml").write_text(
        '[model]\nsource = "model.onnx"\n[build]\ntargets = ["web", "cuda"]\ntune = true\n'
    )
    asked = edgepack("plan", "-t", "x86_64", "--tune", "--json", cwd=tmp_path)
    assert json.loads(asked.stdout)["x86_64"][-1] == {"use": "tune", "parameters": {}}
    found = json.loads(edgepack("plan", "--json", cwd=tmp_path).stdout)
    assert "no device of web is here" in found["web"][-1]["skipped"]
    assert "CUDAExecutionProvider has no threads" in found["cuda"][-1]["skipped"]
    assert "tune" not in edgepack("plan", "-t", "web", cwd=tmp_path.parent).stdout


def test_several_targets_land_apart_and_the_highest_code_is_returned(project: Path) -> None:
    result = edgepack(
        *("build", "model.onnx", "-t", "cuda", "-t", "arm64", "--calib", "calib.npz"),
        *("--require", "int8", "-q"),
        cwd=project,
    )
    assert result.returncode == 5
    assert "error[E-GATE]" in result.stderr
    assert not (project / "dist" / "model-cuda.edgepack").exists()
    assert (project / "dist" / "model-arm64.edgepack").exists()


def test_verify_accepts_a_bundle_on_its_cpu_and_refuses_it_here(project: Path) -> None:
    built = edgepack("build", "model.onnx", "-t", "arm64", "--calib", "calib.npz", cwd=project)
    assert built.returncode == 0, built.stderr
    bundle = "dist/model-arm64.edgepack"
    assert edgepack("verify", bundle, "--on", "qemu:cortex-a53", cwd=project).returncode == 0
    here = edgepack("verify", bundle, cwd=project)
    assert here.returncode == 6
    assert "--on" in here.stderr
    damaged = bytearray((project / bundle).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (project / bundle).write_bytes(damaged)
    assert edgepack("verify", bundle, "-q", cwd=project).returncode == 7


@pytest.mark.parametrize(
    "command",
    ["build", "plan", "bench", "inspect", "verify", "targets", "recipes", "doctor", "init"],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = edgepack(command, "--help")
    assert result.returncode == 0
    assert f"Example: edgepack {command}" in result.stdout


def test_a_bundle_is_not_verified_on_a_cpu_that_it_was_not_built_for(project: Path) -> None:
    built = edgepack(
        *("build", "model.onnx", "-t", "x86_64", "-t", "arm64-i8mm", "--calib", "calib.npz"),
        *("--prefer", "size"),
        cwd=project,
    )
    assert built.returncode == 0, built.stderr
    for name, word in (("x86_64", "x86_64"), ("arm64-i8mm", "i8mm")):
        result = edgepack(
            "verify", f"dist/model-{name}.edgepack", "--on", "qemu:cortex-a53", cwd=project
        )
        assert result.returncode == 6
        assert word in result.stderr


def test_evaluation_data_without_labels_are_judged_by_fidelity(project: Path) -> None:
    np.savez(project / "plain.npz", image=stripes(40, 9)[0])
    result = edgepack(
        *("build", "model.onnx", "-t", "web", "--calib", "calib.npz", "--eval", "plain.npz"),
        "--json",
        cwd=project,
    )
    assert result.returncode == 0, result.stderr
    (bundle,) = json.loads(result.stdout)["bundles"]
    assert bundle["manifest"]["accuracy"]["metric"] == "agreement"
    assert bundle["manifest"]["accuracy"]["n"] == 40


def test_a_signal_that_ends_a_build_leaves_nothing_behind(project: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("edgepack-*"))
    command = [sys.executable, "-m", "edgepack", "build", "model.onnx", "-t", "arm64"]
    with subprocess.Popen(
        [*command, "--calib", "calib.npz", "--eval", "eval.npz"],
        cwd=project,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on emulated" in line:
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "error[E-INTERRUPTED]" in said
    assert not (project / "dist").exists()
    assert set(Path(tempfile.gettempdir()).glob("edgepack-*")) == before
