"""Builds by the recipe ``mixed``: what int8 destroys goes up, and a replay finds the same nodes."""

import json
from pathlib import Path

import onnx
import pytest

from edgepack.build import build
from edgepack.cli import main
from edgepack.report import record
from edgepack.report.built import Built
from tests.projects import unbalance, write_stripes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the stripes, in a net whose channels differ a thousandfold between two layers."""
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "cache"))
    folder = write_stripes(tmp_path)
    onnx.save(unbalance(onnx.load(folder / "model.onnx")), folder / "model.onnx")
    return folder


def _build(folder: Path, target: str, **options: object) -> Built:
    fields = {
        "calib": str(folder / "calib.npz"),
        "evaluation": str(folder / "eval.npz"),
        "recipe": "mixed",
        "prefer": "size",
        "out": folder / "dist",
        "force": True,
    }
    return build(str(folder / "model.onnx"), target=target, **(fields | options))


def test_only_what_int8_destroys_leaves_it(folder: Path) -> None:
    built = _build(folder, "arm64", prefer=None, require="int8")
    operators = built.manifest.precision.operators
    assert operators["Conv"] == {"float32": 2}
    assert operators["Gemm"] == {"int8": 1}
    assert built.manifest.accuracy is not None
    assert built.manifest.accuracy.n == 133  # the others selected
    assert built.manifest.accuracy.drop <= 0.01
    assert any("int8 is refused" in note for note in built.manifest.lineage.notes)
    assert any(sentence.startswith("mixed: ") for sentence in built.sentences)


def test_a_replay_gives_the_same_bytes_without_measuring_again(folder: Path) -> None:
    built = _build(folder, "x86_64", prefer=None)
    found = record.load(built.report, "x86_64")
    assert found.mixed
    for file in (folder / "cache" / "sensitivity").iterdir():
        file.unlink()
    again = _build(folder, "x86_64", prefer=None, replay=built.report, out=folder / "again")
    assert again.sha256 == built.sha256
    assert not list((folder / "cache" / "sensitivity").iterdir())


def test_inspect_names_what_int8_destroyed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder / "all.toml"
    own.write_text('[[graph]]\nuse = "quantize_static"\n')
    _build(folder, "x86_64", recipe=str(own), evaluation=None, max_drop=1.0, require="int8")
    bundle = str(folder / "dist" / "model-x86_64.edgepack")
    base = ["inspect", bundle, "--layers", "--json"]
    assert main([*base, "--float", str(folder / "model.onnx")]) == 0
    known = json.loads(capsys.readouterr().out)["errors"]
    assert known[0]["tensor"] == "scores"
    assert known[0]["total"] < 10
    assert main([*base, "--eval", str(folder / "eval.npz")]) == 0
    alone = json.loads(capsys.readouterr().out)["errors"]
    assert all(each["total"] is None and each["added"] > 20 for each in alone)
    assert main(["inspect", bundle, "--eval", "x.npz"]) == 2
