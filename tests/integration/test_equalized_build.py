"""Builds of a net whose channels int8 rounds away: it ships in integers, with its channels even."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepack.build import build
from edgepack.report import text
from edgepack.report.built import Built
from tests.projects import unbalance, write_stripes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_stripes(tmp_path_factory.mktemp("unbalanced"))
    onnx.save(unbalance(onnx.load(folder / "model.onnx")), folder / "model.onnx")
    return folder


def _build(folder: Path, out: Path, **options: object) -> Built:
    fields: dict[str, Any] = {
        "model": str(folder / "model.onnx"),
        "calib": str(folder / "calib.npz"),
        "evaluation": str(folder / "eval.npz"),
        "require": "int8",  # so small a net is no smaller in int8
        "out": out,
        "force": True,
    }
    return build(target="x86_64", **(fields | options))


def test_what_rounding_destroys_ships_in_integers_behind_equalization(
    folder: Path, tmp_path: Path
) -> None:
    manifest = (built := _build(folder, tmp_path)).manifest
    assert manifest.precision.operators["Conv"] == {"int8": 2}
    assert manifest.precision.operators["Gemm"] == {"int8": 1}
    assert manifest.accuracy is not None
    assert manifest.accuracy.n == 133  # the others selected
    assert manifest.accuracy.drop <= 0.01
    assert any(note.startswith("int8 is refused: top1") for note in manifest.lineage.notes)
    assert any(step.use == "equalize" and step.edits == 1 for step in manifest.lineage.steps)
    assert any(told.startswith("int8 behind equalization passes") for told in built.sentences)
    assert not built.advice


def test_its_report_is_replayed_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    built = _build(folder, tmp_path / "a", require=None)
    again = _build(folder, tmp_path / "b", require=None, replay=built.report)
    assert built.path.read_bytes() == again.path.read_bytes()


def test_where_a_clamp_stands_between_layers_nothing_is_balanced(
    folder: Path, tmp_path: Path
) -> None:
    model = onnx.load(folder / "model.onnx")
    relu = next(node for node in model.graph.node if node.name == "relu")
    relu.op_type = "Clip"
    relu.input.extend(["", "largest"])
    limit = numpy_helper.from_array(np.array(7000, np.float32), "largest")
    model.graph.initializer.append(limit)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    built = _build(folder, tmp_path / "out", model=str(tmp_path / "model.onnx"), require=None)
    assert not any("equalization" in told for told in built.sentences)
    assert "int8" not in built.manifest.precision.operators["Conv"]
    told = {row[0]: row[1] for row in text.build_rows(built)}["hint"]
    assert told.startswith("0 of 3 nodes ship in integers: --recipe mixed goes on node by node")
    assert told in built.sentences
