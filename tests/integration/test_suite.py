"""``edgepack bench --suite`` with real children."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgepack.bench import series, suite
from edgepack.cli import main
from tests.models import Array, proto, value

SUITE = """
models = ["good.onnx", "damaged.onnx"]
scenarios = [
  {scenario = "single", runs = 20, processes = 2},
  {scenario = "cold", runs = 2, processes = 2},
]
threads = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights: dict[str, Array] = {"w": np.eye(4, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    data = proto(nodes, weights, inputs=[value("x", (2, 4))], outputs=[value("y", None)])
    (tmp_path / "good.onnx").write_bytes(data.SerializeToString())
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    (tmp_path / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_failed_cell_leaves_the_others_and_the_highest_code_is_returned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["bench", "--suite", "suite.toml", "-q", "--json", "-o", "all.json", "--html", "p.html"]
    code = main(args)
    told = json.loads(capsys.readouterr().out)["cells"]
    kept = json.loads((folder / "all.json").read_bytes())
    assert kept["format"] == "edgepack-suite/1"
    assert [each["fault"] is None for each in told] == [True, True, False, False]
    assert [len(each["result"]["processes"]) for each in kept["cells"][:2]] == [2, 2]
    assert {each["fault"]["exit_code"] for each in told[2:]} == {3}
    assert code == max([3, *(6 for each in told[:2] if not each["result"]["valid"])])
    assert b"good.onnx, cold" in (folder / "p.html").read_bytes()


def test_other_tools_read_what_this_machine_measured_of_a_suite(folder: Path) -> None:
    (folder / "suite.toml").write_text(SUITE.replace(', "damaged.onnx"', ""))
    args = ["bench", "--suite", "suite.toml", "-q", "--format", "pytest-benchmark", "-o", "p.json"]
    assert main(args) in {0, 6}
    found = json.loads((folder / "p.json").read_bytes())["benchmarks"]
    assert {each["group"] for each in found} <= {"single", "cold"}


def test_what_was_measured_before_an_interrupt_is_kept_and_was_stored(folder: Path) -> None:
    stored: list[int] = []

    def interrupt(sentence: str) -> None:
        if sentence.startswith("2 of 4"):
            raise KeyboardInterrupt

    tasks = suite.read(folder / "suite.toml")
    tour = series.Series(tasks, interrupt, lambda cells: stored.append(len(cells)))
    assert not tour.measure()
    assert [each.scenario.name for each in tour.cells] == ["single"]
    assert stored == [1]


def test_made_up_inputs_that_do_not_fit_are_asked_for_before_anything_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights: dict[str, Array] = {"w": np.eye(4, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    data = proto(nodes, weights, inputs=[value("x", ("n", "m"))], outputs=[value("y", None)])
    (folder / "damaged.onnx").write_bytes(data.SerializeToString())
    assert main(["bench", "--suite", "suite.toml", "-o", "all.json"]) == 2
    assert "does not run on made-up inputs" in capsys.readouterr().err
    assert not (folder / "all.json").exists()  # it would be there after a first cell


def test_the_example_of_the_help_is_a_suite(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--help"]) == 0
    keys = ("models", "targets", "devices", "scenarios")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    shown = [line for line in lines if line.startswith(tuple(f"{key} = " for key in keys))]
    assert len(shown) == len(keys)
    (folder / "dist").mkdir()
    for target in ("x86_64", "arm64"):
        (folder / "dist" / f"digits-{target}.edgepack").write_bytes(b"")
    (folder / "suite.toml").write_text("\n".join(shown))
    assert len(suite.read(folder / "suite.toml")) == 2 * 2 * 2


def test_what_the_file_says_is_refused_beside_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.is_dir()
    assert main(["bench", "--suite", "suite.toml", "--threads", "1"]) == 2
    assert "--threads is the suite's to say" in capsys.readouterr().err
    assert main(["bench", "good.onnx", "--suite", "suite.toml"]) == 2
    assert main(["bench"]) == 2
