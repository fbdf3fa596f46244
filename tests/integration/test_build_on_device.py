"""Builds whose device of the target is an emulated arm64 board behind ssh."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgepack.base.errors import EdgepackError, MachineError
from edgepack.build import run
from edgepack.cli import main
from edgepack.gate import place, prefix, speed
from edgepack.graph.write import to_bytes
from edgepack.intake.request import Request
from edgepack.report import record
from edgepack.report.built import Built
from edgepack.runtime import emulation, runners
from edgepack.runtime.session import Options
from edgepack.spec import target
from edgepack.spec.manifest import runtime_of
from tests.models import linear
from tests.projects import stripes, stripes_net, write_stripes
from tests.ssh_device import Device, as_arm64, running

ARM = runtime_of(target.load("arm64", target.BUILT_IN))
QUICK = (6.0,)  # seconds, after which whatever is known is told
TARGET = """
summary = "a 64-bit ARM board, never emulated here"
arch = "aarch64"
features = ["asimd"]
providers = ["CPUExecutionProvider"]
min_runtime = "1.20"
max_opset = 21
max_ir = 10
sources = ["as arm64"]

[int8]
activations = "uint8"
weights = "int8"
saturating = false
"""


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    if gaps := emulation.missing():
        text = f"{gaps[0][0]} is missing: {gaps[0][1]}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    list(runners.prepare("aarch64"))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(speed, "_BUDGETS", QUICK)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets/board.toml").write_text(TARGET)
    with running(tmp_path / "a device") as there:
        monkeypatch.setenv("EDGEPACK_SSH", f"ssh -F '{there.folder / 'config'}'")
        as_arm64(there, "cortex-a72")
        yield there


def build(folder: Path, board: Device, **options: object) -> list[Built | EdgepackError]:
    fields = {
        "model": str(folder / "model.onnx"),
        "targets": ("board",),
        "calib": str(folder / "calib.npz"),
        "evaluation": str(folder / "eval.npz"),
        "out": folder / "dist",
        "on": (board.name,),
    }
    return list(run(Request(**(fields | options))))  # type: ignore[arg-type]


def built(folder: Path, board: Device, **options: object) -> Built:
    (outcome,) = build(folder, board, **options)
    if not isinstance(outcome, Built):
        raise outcome
    return outcome


def test_a_bundle_is_timed_and_executed_on_the_board_and_verified_there(
    board: Device, tmp_path: Path
) -> None:
    found = built(write_stripes(tmp_path), board)
    told = record.load(found.report, "board")
    compared = [timed.speed for timed in told.timed.values() if timed.speed is not None]
    assert compared
    assert {each.device for each in compared} == {board.name}
    assert board.name in "".join(told.sentences)
    (there,) = [each for each in found.manifest.executed if each.device == board.name]
    assert (there.golden > 0, there.evaluated) == (True, 200)
    assert main(["verify", str(found.path), "--on", board.name, "-q"]) == 0


def test_a_limit_on_latency_is_held_against_the_board(board: Device, tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    (outcome,) = build(folder, board, max_latency=1e-7, prefer="size")
    assert isinstance(outcome, EdgepackError)
    assert "exceeds 0.1 us" in str(outcome)
    assert sum("--samples" in command for command in board.commands) >= 1


def test_a_board_that_is_lost_while_speed_is_judged_costs_the_verdict_only(
    board: Device, tmp_path: Path
) -> None:
    board.cut_when, board.cut_after, board.cuts = "--samples", 100, 99
    found = built(write_stripes(tmp_path), board)
    assert found.speed.startswith(f"not shown: {board.name}: the connection was lost")
    assert board.name in [each.device for each in found.manifest.executed]


def test_a_board_that_is_lost_while_a_limit_is_judged_ends_the_build_in_a_sentence(
    board: Device, tmp_path: Path
) -> None:
    board.cut_when, board.cut_after, board.cuts = "--samples", 100, 99
    folder = write_stripes(tmp_path)
    (outcome,) = build(folder, board, max_latency=1.0, prefer="size")
    assert isinstance(outcome, MachineError)
    assert "the connection was lost" in str(outcome)
    assert not list((folder / "dist").glob("*"))


def test_the_place_of_a_target_is_the_device_that_the_user_named(board: Device) -> None:
    at = place.find(ARM, [board.name])
    assert (at.name, at.nowhere) == (board.name, "")
    sample = {"image": stripes(1, 0)[0]}
    took = speed.latency(stripes_net().SerializeToString(), sample, Options(threads=1), at)
    assert took > 0
    elsewhere = place.find(runtime_of(target.load("web", target.BUILT_IN)), [board.name])
    assert elsewhere.device is None
    assert elsewhere.nowhere


def test_a_model_with_far_less_to_do_is_found_on_the_board_too(board: Device) -> None:
    at = place.find(ARM, [board.name])
    large, small = (to_bytes(linear(rows=64, cols=cols)) for cols in (65536, 64))
    sample = {"x": np.ones((1, 64), np.float32)}
    assert prefix.fastest([large, small], sample, at) == 1
    assert prefix.fastest([small, large], sample, at) == 0
    assert not list((board.folder / "tmp").iterdir())
