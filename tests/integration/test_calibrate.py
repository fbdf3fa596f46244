"""``edgepack calibrate`` and ``edgepack merge``: shards add up to the whole, byte for byte."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edgepack.bundle.open import open_bundle
from edgepack.calibration import stored
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


def _other_model(folder: Path) -> None:
    """Write ``other.onnx``: the same nodes and names, other weights."""
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.5), tensor.name))
    onnx.save(model, folder / "other.onnx")


def test_statistics_of_other_models_are_refused(folder: Path, tmp_path: Path) -> None:
    _other_model(folder)
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


def _bundle(
    folder: Path, *args: str, model: str = "model.onnx"
) -> subprocess.CompletedProcess[str]:
    common = ("build", model, "--require", "int8", "--force", "-q")
    return edgepack(*common, *args, cwd=folder)


def test_a_build_from_statistics_is_the_one_from_the_samples(folder: Path) -> None:
    """The model is the same to the byte; only what the manifest says of the data differs."""
    models = []
    for calib in ("all.npz", "all.stats"):
        result = _bundle(folder, "-t", "x86_64", "--calib", calib, "--eval", "eval.npz")
        assert result.returncode == 0, result.stderr
        bundle = open_bundle(folder / "dist" / "model-x86_64.edgepack")
        assert bundle.manifest.precision.operators["Conv"] == {"int8": 2}
        models.append(bundle.model)
    assert models[0] == models[1]
    assert "ranges come from statistics of 20 samples" in bundle.manifest.lineage.notes


def test_statistics_stand_for_one_graph_alone(folder: Path) -> None:
    _other_model(folder)
    result = _bundle(folder, "-t", "x86_64", "--calib", "all.stats", model="other.onnx")
    assert result.returncode == 4
    assert result.stderr.startswith(
        "error[E-STATS-KEY]: the statistics given do not fit the model: another graph"
    )


def test_a_choice_made_on_samples_is_refused(folder: Path) -> None:
    (folder / "auto.toml").write_text('[[graph]]\nuse = "quantize_static"\nranges = "auto"\n')
    result = _bundle(folder, "-t", "x86_64", "--calib", "all.stats", "--recipe", "auto.toml")
    assert result.returncode == 4
    assert result.stderr.startswith("error[E-STATS]: step quantize_static compares ranges")


def test_a_sample_behind_the_statistics_may_not_judge(folder: Path) -> None:
    result = _bundle(folder, "-t", "x86_64", "--calib", "all.stats", "--eval", "a.npz")
    assert result.returncode == 4
    assert result.stderr.startswith("error[E-DATA-OVERLAP]")


def test_statistics_of_another_runtime_are_refused(folder: Path) -> None:
    kept = stored.load(folder / "all.stats")
    key = msgspec.structs.replace(kept.key, runtime="1.2.3")
    (folder / "old.stats").write_bytes(stored.encode(dataclasses.replace(kept, key=key)))
    result = _bundle(folder, "-t", "x86_64", "--calib", "old.stats")
    assert result.returncode == 4
    assert "was measured with onnxruntime 1.2.3" in result.stderr


def test_a_step_that_looks_at_samples_is_named(folder: Path) -> None:
    recipe = '[[graph]]\nuse = "tidy"\n[[graph]]\nuse = "fold_batchnorm"\n'
    more = '[[graph]]\nuse = "quantize_static"\ncorrect_bias = true\n'
    (folder / "biased.toml").write_text(recipe + more)
    args = ["--recipe", "biased.toml", "--calib", "all.stats", "-t", "arm64"]
    measured = edgepack(
        "calibrate", "model.onnx", "--calib", "all.npz", "--save", "all.stats", "--force",
        "--recipe", "biased.toml", cwd=folder,
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    result = _bundle(folder, *args, "--eval", "eval.npz")
    assert result.returncode == 0, result.stderr
    notes = open_bundle(folder / "dist" / "model-arm64.edgepack").manifest.lineage.notes
    assert (
        "quantize_static looks at samples, which statistics do not hold: that is left out" in notes
    )
