"""``edgepack calibrate`` and ``edgepack merge``: shards add up to the whole, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.projects import stripes, write_stripes


def edgepack(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepack", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with its calibration data whole and in three shards, all calibrated."""
    made = write_stripes(tmp_path_factory.mktemp("stripes"))
    images = stripes(20, 5)[0]
    for name, part in (("all", images), ("a", images[:3]), ("b", images[3:13]), ("c", images[13:])):
        np.savez(made / f"{name}.npz", image=part)
        result = edgepack(
            "calibrate", "model.onnx", "--calib", f"{name}.npz", "--save", f"{name}.stats", cwd=made
        )
        assert result.returncode == 0, result.stderr
    return made


def test_merged_shards_are_the_whole_byte_for_byte_in_any_order(folder: Path) -> None:
    whole = (folder / "all.stats").read_bytes()
    for order in ("abc", "cab", "bca"):
        files = [f"{name}.stats" for name in order]
        result = edgepack("merge", *files, "-o", "sum.stats", "--force", "--json", cwd=folder)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["samples"] == 20
        assert (folder / "sum.stats").read_bytes() == whole


def test_calibrating_again_gives_the_same_bytes_and_shows_every_method(folder: Path) -> None:
    before = (folder / "a.stats").read_bytes()
    args = ["--calib", "a.npz", "--save", "a.stats", "--force", "--json", "-q"]
    result = edgepack("calibrate", "model.onnx", *args, cwd=folder)
    assert (folder / "a.stats").read_bytes() == before
    shown = json.loads(result.stdout)
    assert shown["samples"] == 3
    for methods in shown["ranges"].values():
        assert set(methods) == {"minmax", "percentile", "entropy", "mse"}


def test_one_shard_twice_is_refused(folder: Path) -> None:
    for files in (["a.stats", "a.stats"], ["all.stats", "b.stats"]):
        result = edgepack("merge", *files, "-o", "twice.stats", cwd=folder)
        assert result.returncode == 4
        assert result.stderr.startswith("error[E-STATS-TWICE]")
        assert not (folder / "twice.stats").exists()


def test_statistics_of_other_models_are_refused(folder: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.5), tensor.name))
    onnx.save(model, folder / "other.onnx")
    saved = str(tmp_path / "other.stats")
    edgepack("calibrate", "other.onnx", "--calib", "b.npz", "--save", saved, cwd=folder)
    result = edgepack("merge", "a.stats", saved, "-o", "mixed.stats", cwd=folder)
    assert result.returncode == 4
    assert result.stderr.startswith("error[E-STATS-KEY]: statistics of different graphs")


@pytest.mark.parametrize(
    ("args", "code", "name"),
    [
        (["calibrate", "model.onnx"], 4, "E-CAL-EMPTY"),
        (["calibrate", "model.onnx", "--calib", "none.npz"], 2, "E-PATH"),
        (["calibrate", "model.onnx", "--calib", "a.npz", "--save", "a.stats"], 2, "E-EXISTS"),
        (["calibrate", "model.onnx", "--calib", "a.npz", "-t", "x86"], 2, "E-TARGET"),
        (["merge", "a.stats", "-o", "b.stats"], 2, "E-EXISTS"),
        (["merge", "none.stats", "-o", "x.stats"], 2, "E-PATH"),
        (["merge", "a.stats", "model.onnx", "-o", "x.stats"], 7, "E-STATS"),
        (["merge", "-o", "x.stats"], 2, "E-USAGE"),
    ],
)
def test_a_bad_request_gives_its_exit_code(
    folder: Path, args: list[str], code: int, name: str
) -> None:
    result = edgepack(*args, cwd=folder)
    assert result.returncode == code, result.stderr
    assert result.stderr.splitlines()[-2 if "hint" in result.stderr else -1].startswith(
        f"error[{name}]"
    )
