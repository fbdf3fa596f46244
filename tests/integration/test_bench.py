"""``edgepack bench`` with real children; no timing is ever asserted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper

from edgepack.base.errors import ModelError
from edgepack.bench import formats, measured, scenario, subject, visit
from edgepack.bench.measure import Measurement
from edgepack.bench.measured import File, Process, Samples
from edgepack.bench.summary import summarize
from edgepack.cli import bench as cli
from tests.models import Array, proto, value


def model(folder: Path, shape: tuple[int | str, ...] = (2, 4)) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = folder / "model.onnx"
    weights: dict[str, Array] = {"w": np.eye(4, dtype=np.float32)}
    inputs, outputs = [value("x", shape)], [value("y", None)]
    path.write_bytes(proto(nodes, weights, inputs=inputs, outputs=outputs).SerializeToString())
    return path


def edgepack(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepack", "bench", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", scenario.NAMES)
def test_each_scenario_measures_keeps_raw_samples_and_tells_the_machine(
    tmp_path: Path, name: str
) -> None:
    model(tmp_path)
    how = ("--scenario", name, "--time", "1s", "--runs", "3" if name == "cold" else "40")
    args = ("model.onnx", "--threads", "1", *how, "--json", "-q", "-o", "bench.json")
    done = edgepack(*args, cwd=tmp_path)
    assert done.returncode in {0, 6}, done.stderr
    (told,) = json.loads(done.stdout)["results"]
    (kept,) = msgspec.json.decode((tmp_path / "bench.json").read_bytes(), type=File).results
    assert kept.scenario.name == name
    assert len(kept.latency) == told["number"] >= 1
    assert min(kept.latency) > 0
    assert kept.memory is not None
    assert kept.memory["model"] >= kept.memory["runtime"]
    assert told["latency"]["p99"] is None  # too few
    assert {"cpu", "features", "quota", "affinity", "onnxruntime"} <= told["machine"].keys()
    assert told["valid"] == (done.returncode == 0)


def test_a_profile_is_a_chrome_trace_and_names_what_each_operator_took(tmp_path: Path) -> None:
    model(tmp_path)
    how = ("--threads", "1", "--time", "1s", "--runs", "40", "-q", "-o", "bench.json")
    done = edgepack("model.onnx", *how, "--profile", "trace.json", cwd=tmp_path)
    assert done.returncode in {0, 6}, done.stderr
    assert "MatMul" in done.stdout
    events = json.loads((tmp_path / "trace.json").read_bytes())
    assert {"name", "ph", "ts", "dur", "pid", "tid"} <= events[0].keys()
    (kept,) = measured.load(tmp_path / "bench.json")
    assert [each.op for each in kept.operators] == ["MatMul"]
    twice = edgepack("model.onnx", "model.onnx", "--profile", "t.json", cwd=tmp_path)
    assert (twice.returncode, "one model" in twice.stderr) == (2, True)


def test_an_open_shape_that_nobody_can_guess_asks_for_shape_and_takes_it(tmp_path: Path) -> None:
    model(tmp_path, ("n", "m"))  # made up as 1 x 32, but the matrix has four rows
    asked = edgepack("model.onnx", "-q", cwd=tmp_path)
    assert asked.returncode == 2
    assert "hint: give the shapes: --shape" in asked.stderr
    given = ("--shape", "x=3x4", "--runs", "5", "--threads", "1", "--json", "-q")
    assert edgepack("model.onnx", *given, cwd=tmp_path).returncode in {0, 6}
    wrong = edgepack("model.onnx", "--shape", "z=3x4", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "no input 'z'" in wrong.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--scenario", "singel"), "did you mean 'single'?"),
        (("--rate", "3"), "unknown field"),
        (("--time", "3"), "no unit"),
        (("--scenario", "server", "--rate", "0"), "rate"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_any_work(
    tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    done = edgepack("none.onnx", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_child_that_is_killed_is_a_sentence_that_says_what_it_was_at(tmp_path: Path) -> None:
    found = subject.read(model(tmp_path), 1, {})
    found.lay_out(tmp_path)
    long = Measurement(found, scenario.make("single", seconds=30.0, runs=10**7, processes=1))
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")

    def visited() -> None:
        for line in visit.visit(long._job(), tmp_path, limit=60):
            if line.samples is not None:
                os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)

    with pytest.raises(ModelError, match="SIGKILL while running the model"):
        visited()


def test_what_was_measured_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    def interrupt(sentence: str) -> None:
        if sentence.startswith("process 3"):
            raise KeyboardInterrupt

    how = scenario.make("single", runs=50, seconds=5.0, processes=5)
    result = Measurement(subject.read(model(tmp_path), 1, {}), how, interrupt).measure()
    assert result.ended == "interrupted"
    assert len(result.processes) == 2
    assert "ended" in {each.name for each in summarize(result).cautions}


def test_an_interrupt_at_the_start_of_a_second_model_keeps_the_first(tmp_path: Path) -> None:
    begun: list[str] = []

    def interrupt(sentence: str) -> None:
        begun.append(sentence)
        if len(begun) == 2:
            raise KeyboardInterrupt

    how = scenario.make("single", runs=5, seconds=5.0, processes=1)
    two = [subject.read(model(tmp_path), 1, {})] * 2
    assert [each.ended for each in cli._here(cli.Work(two, how, interrupt, None))] == [""]


def test_a_run_that_drifted_or_was_overloaded_is_invalid(tmp_path: Path) -> None:
    how = scenario.make("single", runs=5, seconds=5.0, processes=1)
    result = Measurement(subject.read(model(tmp_path), 1, {}), how).measure()

    def with_samples(samples: Samples, kind: str) -> measured.Result:
        process = Process(result.processes[0].opened, samples)
        made = scenario.make(kind)
        return msgspec.structs.replace(result, processes=(process,), scenario=made)

    at = tuple(0.01 * n for n in range(60))
    slow = tuple(0.005 if n < 30 else 0.008 for n in range(60))
    drifted = Samples(at, slow, slow, (0,) * 60)
    assert not summarize(with_samples(drifted, "single")).valid
    assert summarize(with_samples(drifted, "sustained")).valid  # there it is the subject
    flat = (0.02,) * 60
    queue = Samples(tuple(0.02 * n for n in range(60)), flat, flat, (0,) * 60, at)
    names = {each.name for each in summarize(with_samples(queue, "server")).cautions}
    assert "overloaded" in names


def test_a_run_is_held_against_earlier_ones_and_five_of_them_decide(tmp_path: Path) -> None:
    model(tmp_path)
    how = ("model.onnx", "--threads", "1", "--runs", "20", "-q")
    first = edgepack(*how, "-o", "0.json", cwd=tmp_path)
    assert first.returncode in {0, 6}, first.stderr
    found = msgspec.json.decode((tmp_path / "0.json").read_bytes(), type=File)
    for number in range(1, 5):
        run = msgspec.structs.replace(found.results[0], elapsed=float(number))
        (tmp_path / f"{number}.json").write_bytes(measured.encode((run,)))
    one = edgepack(*how, "--against", "0.json", cwd=tmp_path)
    assert one.returncode in {6, 9}, one.stderr
    assert "inconclusive" in one.stdout
    assert "edgepack compare" in one.stdout
    five = [word for number in range(5) for word in ("--against", f"{number}.json")]
    done = edgepack(*how, *five, "--json", cwd=tmp_path)
    (said,) = json.loads(done.stdout)["against"]
    code = {"slower": 8, "inconclusive": 9}.get(said["decision"], 0)
    assert done.returncode in {code, 6}
    assert (said["runs"], len(said["interval"])) == (5, 2)
    other = edgepack(*how, "--scenario", "offline", "--against", "0.json", cwd=tmp_path)
    assert other.returncode == 2
    assert "scenario was" in other.stderr


def test_tuning_keeps_the_default_unless_another_choice_was_shown_to_be_faster(
    tmp_path: Path,
) -> None:
    model(tmp_path)
    done = edgepack("model.onnx", "--tune", "--time", "10s", "--json", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["results"]
    assert len(found["rounds"][0]) >= 4
    assert "default" in found["rounds"][0]
    verdict, session = found["verdict"], found["session"]
    if verdict is None or verdict["decision"] != "faster":
        assert session["graph_optimization_level"] == "all"
        assert session["intra_op_num_threads"] == min(len(os.sched_getaffinity(0)), 4)


def test_other_tools_read_what_is_written_for_them(tmp_path: Path) -> None:
    how = scenario.make("single", runs=100, seconds=5.0, processes=1)
    result = Measurement(subject.read(model(tmp_path), 1, {}), how).measure()
    same = (0.001,) * 100
    flat = Samples(same, same, same, (0,) * 100)
    calm = msgspec.structs.replace(result, processes=(Process(None, flat),))
    path = tmp_path / "pytest.json"
    path.write_bytes(formats.encode([calm], "pytest-benchmark"))
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "model.onnx single 1 threads" in done.stdout
    rows = json.loads(formats.encode([calm], "github-action-benchmark"))
    assert [(row["name"][-3:], row["value"], row["unit"]) for row in rows] == [
        ("p50", 1.0, "ms"),
        ("p90", 1.0, "ms"),
    ]
    slow = tuple(0.005 if n < 50 else 0.008 for n in range(100))
    drifted = Process(None, Samples(slow, slow, slow, (0,) * 100))
    invalid = msgspec.structs.replace(result, processes=(drifted,))
    assert json.loads(formats.encode([invalid], "github-action-benchmark")) == []
