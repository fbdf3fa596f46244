"""Bad paths, full disks, odd terminals and odd user code, met through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.base.errors import MachineError, RequestError
from edgepack.cli import main
from edgepack.cli.init import init
from tests.projects import write_stripes

LONG = "x" * 300
CODE = """
import numpy as np
print("noise")
def samples():
    print("noise")
    rng = np.random.default_rng(0)
    return [{"image": rng.normal(size=(1, 1, 8, 8)).astype("f4")} for _ in range(16)]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_init_makes_a_folder_and_all_above_it(here: Path) -> None:
    init(out=Path("a/b"))
    assert (here / "a" / "b" / "edgepack.toml").is_file()
    assert found(here)[:2] == ["a", "a/b"]
    assert not [name for name in found(here) if "draft" in name or "pycache" in name]


def test_init_fills_a_folder_that_is_empty(here: Path) -> None:
    (here / "empty").mkdir()
    kept = (here / "empty").stat().st_ino
    init(out=Path("empty"))
    assert (here / "empty").stat().st_ino == kept, "a shell may stand in it"
    assert (here / "empty" / "model.py").is_file()
    with pytest.raises(RequestError, match="not empty"):
        init(out=Path("empty"))


def test_init_refuses_a_bad_path_and_leaves_nothing(here: Path) -> None:
    (here / "file").touch()
    (here / "link").symlink_to("gone")
    before = found(here)
    for path in ("file", "file/x", "link", "link/x", LONG, f"new/{LONG}"):
        with pytest.raises(RequestError) as caught:
            init(out=Path(path))
        assert caught.value.hint
    assert found(here) == before


def test_init_on_a_full_disk_leaves_nothing(here: Path) -> None:
    (here / "empty").mkdir()
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "from edgepack.cli import main; sys.exit(main())"
    )
    for path in ("empty", "new/folder"):
        command = [sys.executable, "-c", script, "init", "-o", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == MachineError.exit_code, done.stderr
        assert done.stderr.startswith("error[E-DISK]")
    assert found(here) == ["empty"]


def test_prints_of_user_code_stay_out_of_json_and_a_bad_cache_does_no_harm(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", LONG)
    write_stripes(here)
    (here / "c.py").write_text(CODE)
    args = ["build", "model.onnx", "-t", "arm64", "--calib", "c.py:samples", "--json", "-q"]
    assert main(args) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["bundles"]
    assert "noise" in said.err


def test_data_behind_a_bad_path_are_the_fault_of_the_request(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stripes(here)
    assert main(["bench", "model.onnx", "-o", f"{LONG}.json"]) == 2
    assert main(["build", "model.onnx", "-t", "arm64", "--recipe", f"{LONG}.toml"]) == 2
    assert capsys.readouterr().err.count("hint: ") == 2
    assert not (here / "dist").exists()


def test_a_pipe_for_a_project_does_not_wait(here: Path) -> None:
    os.mkfifo(here / "edgepack.toml")
    assert main(["plan", "-t", "arm64"]) == 2


def test_a_suffix_in_capitals_is_a_suffix(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_stripes(here)
    (here / "model.onnx").rename("M.ONNX")
    assert main(["inspect", "M.ONNX", "--json"]) == 0
    assert "operators" in json.loads(capsys.readouterr().out)


def test_results_that_cannot_be_written_are_an_error_of_the_machine() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "edgepack", "targets"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == MachineError.exit_code
    assert done.stderr.startswith(b"error[")
