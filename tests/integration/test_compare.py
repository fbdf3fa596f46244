"""``edgepack compare`` with real children, and on stored samples; no timing is ever asserted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from edgepack.base.errors import DataError, MachineError, ModelError, RequestError
from edgepack.bench import arms, record, visit
from edgepack.bench.child import Stage
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.record import Plan
from edgepack.bench.rivals import Rivals, arm
from edgepack.bench.verdict import Bars, judge
from edgepack.bundle import golden
from edgepack.bundle.pack import pack
from edgepack.cli import compare as cli
from edgepack.cli import terminal
from edgepack.runtime import machine
from edgepack.runtime.session import Options
from edgepack.spec.manifest import Manifest
from tests.comparisons import run
from tests.models import proto, value

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "scipy", "sympy")


def small(output: str = "y", width: int = 4) -> bytes:
    weight = np.eye(width, dtype=np.float32)
    model = proto(
        [helper.make_node("MatMul", ["x", "w"], [output])],
        {"w": weight},
        inputs=[value("x", [2, width])],
        outputs=[value(output, [2, width])],
    )
    data: bytes = model.SerializeToString()
    return data


def rivals(a: bytes, b: bytes, x: npt.NDArray[np.generic] | None = None) -> Rivals:
    sample = {"x": np.ones((2, 4), np.float32) if x is None else x}
    one, other = (arm(name, model, "00", Options()) for name, model in (("a", a), ("b", b)))
    return Rivals(one, other, [sample, sample], "ones")


def bundle(path: Path, arch: str) -> Path:
    text = Path(__file__).parents[1].joinpath("attacks", "manifest.json").read_text()
    plain: dict[str, Any] = json.loads(text)
    plain["runtime"]["arch"] = arch
    plain["runtime"]["session"] = {"intra_op_num_threads": 2, "graph_optimization_level": "basic"}
    model = proto(
        [helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])],
        {name: np.array([at], np.int64) for name, at in (("s", 0), ("e", 3), ("a", 1))},
        inputs=[value("x", ["batch", 4])],
        outputs=[value("y", ["batch", 3])],
    )
    x = np.ones((2, 1, 4), np.float32)
    runs = golden.encode(golden.Golden({"x": x}, {"y": x[..., :3]}))
    members = {"model.onnx": model.SerializeToString(), "golden.npz": runs}
    path.write_bytes(pack(msgspec.convert(plain, Manifest), members))
    return path


def edgepack(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepack", "compare", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.onnx").write_bytes(small())
    (tmp_path / "b.onnx").write_bytes(small())
    (tmp_path / "other.onnx").write_bytes(small(output="z"))
    (tmp_path / "wide.onnx").write_bytes(small(width=5))
    (tmp_path / "cut.onnx").write_bytes(small()[:40])
    for name, center in (("slower", 0.03), ("same", 0.0), ("faster", -0.03)):
        ratios = [center + 0.0005 * sign for sign in (1, -1, 1, -1, 0)]
        (tmp_path / f"{name}.json").write_bytes(record.encode(run(ratios)))
    (tmp_path / "open.json").write_bytes(record.encode(run([0.1, -0.1] * 3)))
    return tmp_path


def process(stage: Stage, plan: Plan, limit: float = 60.0) -> tuple[record.Pair, ...]:
    return stage.process(plan, one_thread=True, realtime=False, number=0, limit=limit)


def test_a_child_returns_every_round_of_every_pair_and_opens_each_side_first_in_turn(
    tmp_path: Path,
) -> None:
    plan = Plan(looks=(5,), pairs=4, rounds=6, error=0.01, seed=3)
    pairs = process(Stage(tmp_path, rivals(small(), small())), plan)
    assert sorted(pair.first for pair in pairs) == ["a", "a", "b", "b"]
    for pair in pairs:
        for side in (pair.a, pair.b):
            assert len(side.wall) == len(side.cpu) == len(side.switches) == 6
            assert min(side.wall) > 0
            assert min(side.switches) >= 0


def test_what_a_child_raises_reaches_the_parent_as_it_was(tmp_path: Path) -> None:
    plan = Plan(looks=(5,), pairs=1, rounds=2, error=0.01, seed=0)
    stage = Stage(tmp_path, rivals(small(), small(), np.ones((2, 3), np.float32)))
    with pytest.raises(DataError, match="does not run"):
        process(stage, plan)


def test_a_child_that_breaks_is_a_sentence_that_says_what_it_was_at(tmp_path: Path) -> None:
    plan = Plan(looks=(5,), pairs=1, rounds=2, error=0.01, seed=0)
    stage = Stage(tmp_path, rivals(small(), small()))
    (tmp_path / "b.onnx").unlink()
    with pytest.raises(MachineError, match="while opening B: FileNotFoundError"):
        process(stage, plan)
    crash = visit.broken(-11, "running B", "")
    assert isinstance(crash, ModelError)
    assert str(crash) == "the process stopped with SIGSEGV while running B"


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    plan = Plan(looks=(5,), pairs=1000, rounds=1000, error=0.01, seed=0)
    stage = Stage(tmp_path, rivals(small(), small()))
    with pytest.raises(MachineError, match="did not end within 200 ms"):
        process(stage, plan, limit=0.2)


def test_bundles_are_compared_on_their_golden_samples_at_the_options_they_ship_with(
    tmp_path: Path,
) -> None:
    ours = bundle(tmp_path / "a.edgepack", machine.arch())
    found = arms.read(ours, ours)
    assert found.inputs == "golden samples of A"
    assert [sample["x"].shape for sample in found.samples] == [(1, 4), (1, 4)]
    options = found.a.contestant.options
    assert (options.threads, options.level) == (min(2, machine.usable_cores()), "basic")
    assert options.entries == {"session.force_spinning_stop": "1"}
    assert arms.read(ours, ours, 1).b.contestant.options.threads == 1


def test_a_bundle_for_another_architecture_exits_with_6(tmp_path: Path) -> None:
    other = "aarch64" if machine.arch() == "x86_64" else "x86_64"
    bundle(tmp_path / "theirs.edgepack", other)
    done = edgepack("theirs.edgepack", "theirs.edgepack", cwd=tmp_path)
    assert done.returncode == 6
    assert other in done.stderr


@pytest.mark.slow
def test_what_was_measured_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    def interrupt(sentence: str) -> None:
        if sentence.startswith("5 processes"):
            raise KeyboardInterrupt

    never = Terms(lambda groups, error: (judge(groups, error, Bars()), False), budget=60)
    contest = Contest(rivals(small(), small()), never, interrupt)
    with pytest.raises(terminal.Interrupted, match="after 5 processes") as ended:
        cli._measure(contest, tmp_path / "run.json")
    assert "--from" in ended.value.hint
    assert len(record.load(tmp_path / "run.json").processes) == 5


@pytest.mark.slow
def test_a_whole_comparison_on_this_machine_prints_and_keeps_what_it_says(folder: Path) -> None:
    done = edgepack(
        *("a.onnx", "b.onnx", "--threads", "1", "--budget", "20s", "--json", "-o", "run.json"),
        cwd=folder,
    )
    assert done.returncode in {0, 8, 9}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    low, high = found["interval"]
    assert low <= found["ratio"] <= high
    assert found["smallest_effect"] > 0
    assert found["clock"] == "cpu"
    assert found["processes"] >= 5
    assert found["inputs"] == "made up"
    codes = {"slower": 8, "inconclusive": 9}
    assert done.returncode == codes.get(found["decision"], 0)
    kept = record.load(folder / "run.json")
    assert len(kept.pairs) == found["pairs"] == kept.plan.pairs * found["processes"]
    again = edgepack("--from", "run.json", "--json", cwd=folder)
    assert json.loads(again.stdout) == found
    assert again.returncode == done.returncode


@pytest.mark.parametrize(
    ("name", "decision", "code"),
    [
        ("slower", "slower", 8),
        ("same", "no difference", 0),
        ("faster", "faster", 0),
        ("open", "inconclusive", 9),
    ],
)
def test_stored_samples_are_judged_again_with_their_exit_code(
    folder: Path, name: str, decision: str, code: int
) -> None:
    done = edgepack("--from", f"{name}.json", "--json", cwd=folder)
    assert json.loads(done.stdout)["decision"] == decision
    assert done.returncode == code
    assert done.stderr == ""


def test_the_ratio_the_interval_and_the_smallest_effect_are_always_printed(folder: Path) -> None:
    for name in ("slower", "same", "open"):
        text = edgepack("--from", f"{name}.json", cwd=folder).stdout
        assert "99% interval [" in text.replace("99 %", "99%")
        assert "B takes" in text
        assert "nine times in ten" in text


def test_other_bars_give_another_verdict_on_the_same_samples(folder: Path) -> None:
    args = ("--from", "slower.json", "--tolerate", "5%", "--detect", "10%", "--json")
    assert json.loads(edgepack(*args, cwd=folder).stdout)["decision"] == "no difference"


BAD = {
    "one model": (["a.onnx"], 2, "takes two models, not 1"),
    "three models": (["a.onnx", "b.onnx", "a.onnx"], 2, "takes two models, not 3"),
    "a missing model": (["a.onnx", "none.onnx"], 2, "no such file"),
    "a missing bundle": (["a.onnx", "none.edgepack"], 2, "none.edgepack"),
    "a damaged model": (["a.onnx", "cut.onnx"], 3, ""),
    "another output": (["a.onnx", "other.onnx"], 2, "B has no 'y'"),
    "another shape": (["a.onnx", "wide.onnx"], 2, "differ in an input"),
    "no percent sign": (["a.onnx", "b.onnx", "--tolerate", "0.5"], 2, "no percent sign"),
    "a negative percentage": (["a.onnx", "b.onnx", "--detect", "-1%"], 2, "--detect"),
    "bars the wrong way": (["a.onnx", "b.onnx", "--tolerate", "2%"], 2, "is not below"),
    "no unit of time": (["a.onnx", "b.onnx", "--budget", "60"], 2, "no unit"),
    "no time": (["a.onnx", "b.onnx", "--budget", "0s"], 2, "budget is too small"),
    "an emulated device": (["a.onnx", "b.onnx", "--on", "qemu:cortex-a53"], 2, "cannot time"),
    "a folder as output": (["a.onnx", "b.onnx", "-o", "."], 2, "is a directory"),
    "models beside --from": (["a.onnx", "--from", "same.json"], 2, "takes no models"),
    "another file for --from": (["--from", "a.onnx"], 4, "no comparison"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_end_with_one_line_a_hint_and_their_exit_code(folder: Path, case: str) -> None:
    args, code, said = BAD[case]
    done = edgepack(*args, "-q", cwd=folder)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert lines[0].startswith("error[E-")
    assert said in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert done.stdout == ""


def test_another_interface_has_a_code_of_its_own_and_not_that_of_a_bad_signature(
    folder: Path,
) -> None:
    with pytest.raises(RequestError, match="differ in an input") as caught:
        arms.read(folder / "a.onnx", folder / "wide.onnx")
    assert caught.value.code == "E-COMPARE"


def test_judging_stored_samples_needs_neither_the_runtime_nor_a_build_tool(folder: Path) -> None:
    code = (
        "import sys; from edgepack.cli import main; main(['compare', '--from', 'same.json'])\n"
        f"bad = {{'onnxruntime', *{HEAVY}}} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_children_import_nothing_heavier_than_the_runtime() -> None:
    code = f"import sys, edgepack.bench.duel; sys.exit(len(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


def test_a_model_that_is_no_model_is_not_compared(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load_from_string(small()))  # the small model itself is one
    for name, data in (("good", small()), ("bad", b"\x08\x08")):
        (tmp_path / f"{name}.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        arms.read(tmp_path / "good.onnx", tmp_path / "bad.onnx")
