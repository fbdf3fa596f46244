"""``edgepack bench --suite`` with real children."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import helper

from edgepack.bench import kept, series, suite
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


def measured(folder: Path) -> list[object]:
    """Return what every cell measured: two measurements never agree to the nanosecond."""
    cells = json.loads((folder / "all.json").read_bytes())["cells"]
    return [each["result"]["processes"] for each in cells]


def resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["bench", "--suite", "suite.toml", "-o", "all.json"]) in {0, 6}
    assert folder.is_dir()
    return capsys.readouterr().err


def test_a_suite_that_lost_power_goes_on_where_it_stopped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three = SUITE.replace(', "damaged.onnx"', "")
    (folder / "suite.toml").write_text(three.replace("]\nthreads", '  "sustained",\n]\nthreads'))
    command = [sys.executable, "-m", "edgepack", "bench", "--suite", "suite.toml", "-o", "all.json"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "3 of 3" in line:
                process.kill()
                break
    before = measured(folder)
    assert len(before) == 2
    short = '{scenario = "sustained", seconds = 0.5}'
    (folder / "suite.toml").write_text(three.replace("]\nthreads", f"  {short},\n]\nthreads"))
    said = resume(folder, capsys)
    assert "2 of 3 are in all.json" in said
    after = measured(folder)
    assert (after[:2], len(after)) == (before, 3)
    assert "3 of 3 are in all.json" in resume(folder, capsys)
    assert measured(folder) == after


def test_what_failed_or_changed_since_is_measured_and_the_rest_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (folder / "good.onnx").read_bytes()
    assert main(["bench", "--suite", "suite.toml", "-o", "all.json", "-q"]) in {3, 6}
    (folder / "damaged.onnx").write_bytes(good)
    assert "2 of 4 are in all.json" in resume(folder, capsys)
    before = measured(folder)
    model = onnx.load_from_string(good)
    model.producer_name = "another"
    (folder / "good.onnx").write_bytes(model.SerializeToString())
    assert "2 of 4 are in all.json" in resume(folder, capsys)
    assert [a == b for a, b in zip(measured(folder), before, strict=True)] == [
        False,
        False,
        True,
        True,
    ]
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace("= 20", "= 21"))
    assert "2 of 4 are in all.json" in resume(folder, capsys)


def test_a_cell_of_another_machine_is_measured_again_and_one_cut_short_too(folder: Path) -> None:
    (folder / "suite.toml").write_text(SUITE.replace(', "damaged.onnx"', ""))
    tasks = suite.read(folder / "suite.toml")[:1]
    tour = series.Series(tasks)
    assert tour.measure()
    (cell,) = tour.cells
    assert cell.result is not None
    assert kept.match(tasks, [cell]) == [cell]
    moved = structs.replace(cell.result, machine={**cell.result.machine, "onnxruntime": "1.0"})
    cut = structs.replace(cell.result, ended="interrupted")
    for other in (moved, cut):
        assert kept.match(tasks, [structs.replace(cell, result=other)]) == [None]


def test_a_file_that_is_no_suite_s_is_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "all.json").write_text("precious")
    assert main(["bench", "--suite", "suite.toml", "-o", "all.json"]) == 2
    assert "error[E-EXISTS]: 'all.json' is no suite's" in capsys.readouterr().err
    assert (folder / "all.json").read_text() == "precious"
