"""``edgepack unpack``: plain files at install time, and .ort made on the machine that runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgepack
from edgepack.bundle.golden import judge
from edgepack.bundle.open import open_bundle
from edgepack.cli import main
from edgepack.graph.write import to_bytes
from edgepack.runtime import machine
from edgepack.runtime.convert import faster_ort, verdict
from edgepack.runtime.session import Options, Session
from tests import convolutions, zoo
from tests.unit.test_runtime_model import ONES, doubler


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return doubler(tmp_path)


def test_the_files_are_what_the_manifest_says(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain"
    assert main(["unpack", str(bundle), "-o", str(out)]) == 0
    opened = open_bundle(bundle)
    assert {path.name for path in out.iterdir()} == {"manifest.json", *opened.manifest.files}
    for name, member in opened.manifest.files.items():
        assert (out / name).stat().st_size == member.bytes
    assert (out / "model.onnx").read_bytes() == opened.model
    assert json.loads((out / "manifest.json").read_text())["format"] == "edgepack/1"
    with np.load(out / "golden.npz") as golden:
        assert golden["input.x"].tolist() == [ONES.tolist()]


def test_files_that_are_there_stay_unless_forced(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain"
    out.mkdir()
    (out / "model.onnx").write_bytes(b"precious")
    assert main(["unpack", str(bundle), "-o", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["model.onnx"]
    assert (out / "model.onnx").read_bytes() == b"precious"
    assert main(["unpack", str(bundle), "-o", str(out), "--force"]) == 0
    assert (out / "model.onnx").read_bytes() == open_bundle(bundle).model


def test_a_file_for_a_folder_and_a_damaged_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    assert main(["unpack", str(bundle), "-o", str(bundle)]) == 2
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert main(["unpack", str(bundle), "-o", str(tmp_path / "plain")]) == 7
    assert not (tmp_path / "plain").exists()


def test_a_converted_model_computes_the_same_or_is_not_kept(bundle: Path) -> None:
    found = faster_ort(open_bundle(bundle))
    assert "as .ort" in found.sentence
    if found.data is not None:
        session = Session(found.data, Options(format="ORT", level="disable"), self_contained=True)
        assert session.run({"x": ONES})["y"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("net", "recipe"), [(zoo.transformer, "int8-dynamic"), (convolutions.lite, "int8-weights")]
)
def test_a_network_in_int8_is_converted_and_computes_the_same(
    net: Callable[[], ir.Model], recipe: str, tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(to_bytes(net()))
    target = {"aarch64": "arm64"}.get(machine.arch(), machine.arch())
    opened = open_bundle(
        edgepack.build(str(model), target=target, recipe=recipe, out=tmp_path).path
    )
    found = faster_ort(opened)
    assert "as .ort it loads in" in found.sentence
    if found.data is not None:
        session = Session(found.data, Options(format="ORT", level="disable"), self_contained=True)
        runs = [session.run(sample) for sample in opened.golden.samples]
        judge(opened.golden, opened.manifest.golden.tolerance, runs).require("as .ort")


def test_a_conversion_is_kept_where_it_wins_twelve_loads_of_fifteen() -> None:
    won, lost = (1.0, 2.0), (2.0, 1.0)
    assert verdict(b"ort", [won] * 12 + [lost] * 3).data == b"ort"
    assert verdict(b"ort", [won] * 11 + [lost] * 4).data is None
    said = verdict(b"ort", [won] * 11 + [lost] * 4).sentence
    assert said.startswith("no .ort is kept: as .ort it loads in 50 % of 2 s of CPU time")


def test_the_command_line_says_whether_ort_is_kept(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plain"
    assert main(["unpack", str(bundle), "-o", str(out), "--ort", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (out / "model.ort").exists() == ("no .ort is kept" not in told["ort"])
