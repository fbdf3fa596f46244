"""Errors of every command: one line, a hint that solves it, and one object with ``--json``."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepack import cli
from edgepack.cli import commands, main
from tests.projects import write_stripes

ERROR = {"code", "message", "hint", "exit"}
MISSING = {
    "bench": ["bench", "none.onnx"],
    "build": ["build", "none.onnx", "-t", "arm64"],
    "calibrate": ["calibrate", "none.onnx", "--calib", "calib.npz"],
    "compare": ["compare", "--from", "none.json"],
    "devices": ["devices", "prepaer"],
    "diff": ["diff", "none.onnx", "none.onnx"],
    "doctor": ["doctor", "--measure", "soon"],
    "embed": ["embed", "none.edgepack", "--lang", "c", "-o", "app"],
    "init": ["init", "digit"],
    "inspect": ["inspect", "none.onnx"],
    "merge": ["merge", "none.stats", "-o", "all.stats"],
    "plan": ["plan", "-t", "arm46"],
    "recipes": ["recipes", "int9"],
    "sign": ["sign", "none.edgepack", "--key", "none.pem"],
    "targets": ["targets", "arm46"],
    "unpack": ["unpack", "none.edgepack", "-o", "out"],
    "verify": ["verify", "none.edgepack"],
}
"""A request of each command that cannot be met; a new command must bring its own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_stripes(tmp_path_factory.mktemp("errors"))
    (found / "empty").mkdir()
    np.savez(found / "nothing.npz")
    words = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in ("s", "t")]
    node = helper.make_node("Identity", ["s"], ["t"])
    graph = helper.make_graph([node], "g", words[:1], words[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), found / "words.onnx")
    (found / "text.json").write_text("{")
    (found / "bytes.json").write_bytes(b'"\xff"')
    (found / "suite.toml").write_text('models = ["modle.onnx"]')
    return found


@pytest.fixture
def fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command in the folder: exit code, lines of its error, stdout."""
    monkeypatch.chdir(folder)

    def run(*args: str) -> tuple[int, list[str], str]:
        code = main(args)
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if not line.startswith("  ")]
        return code, lines, said.out

    return run


@pytest.mark.parametrize("command", commands())
@pytest.mark.parametrize("wrong", [[], ["--no-such-option"]])
def test_with_json_every_failure_is_one_object_of_one_shape(
    fail: Callable[..., tuple[int, list[str], str]], command: str, wrong: list[str]
) -> None:
    code, lines, out = fail(*MISSING[command], *wrong, "--json")
    (error,) = json.loads(out).values()
    assert error.keys() == ERROR
    assert error["exit"] == code
    assert code in {2, 7} if not wrong else code == 2
    assert lines == [f"error[{error['code']}]: {error['message']}", f"hint: {error['hint']}"]
    assert error["message"]


@pytest.mark.parametrize(
    ("args", "raised", "code"),
    [
        ([], KeyboardInterrupt(), 130),
        ([], MemoryError(), 6),
        ([], ZeroDivisionError("oh"), 1),
        ([], OSError(28, "No space left on device"), 6),
    ],
)
def test_what_nobody_expected_has_the_same_shape(
    fail: Callable[..., tuple[int, list[str], str]],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    raised: BaseException,
    code: int,
) -> None:
    def app() -> Callable[..., int]:
        def broken(*_: object, **__: object) -> int:
            raise raised

        return broken

    monkeypatch.setattr(cli, "_app", app)
    monkeypatch.setattr(cli, "_abandon_stdout", lambda: None)
    got, _, out = fail("doctor", "--json", *args)
    assert got == code == json.loads(out)["error"]["exit"]


def test_a_failed_target_stands_beside_the_bundles_that_landed(folder: Path) -> None:
    args = ["build", "model.onnx", "-t", "cuda", "-t", "web", "--calib", "calib.npz", "--json"]
    command = [sys.executable, "-m", "edgepack", *args, "--require", "int8", "-o", "two", "-q"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["error"]["exit"]) == (5, 5)
    assert told["errors"] == [told["error"]]
    assert len(told["bundles"]) == 1


WEB = ("build", "model.onnx", "-t", "web")
SHAPE = ("bench", "model.onnx", "--shape")
THERE = ("bench", "model.onnx", "--on", "ssh://nohost.invalid")
WORDS = ["bench", "words.onnx", "--on", "qemu:cortex-a53"]
HINTS = {
    "a missing comparison": (["compare", "--from", "no.json"], 2, "no.json", "compare -o"),
    "no comparison": (["compare", "--from", "text.json"], 4, "text.json", "compare -o"),
    "no report": ([*WEB, "--replay", "text.json"], 2, "text.json", "report.json"),
    "a report of bytes": ([*WEB, "--replay", "bytes.json"], 2, "bytes.json", "report.json"),
    "a missing report": ([*WEB, "--replay", "no.json"], 2, "no.json", "report.json"),
    "a suite of no model": (["bench", "--suite", "suite.toml"], 2, "modle", "'model.onnx'"),
    "no suite": (["bench", "--suite", "none.toml"], 2, "none.toml", "path"),
    "a missing model": (["bench", "modle.onnx"], 2, "modle.onnx", "'model.onnx'"),
    "an empty folder": ([*WEB, "--calib", "empty"], 4, "'empty'", ".npz"),
    "an empty npz": ([*WEB, "--calib", "nothing.npz"], 4, "nothing.npz", "first axis"),
    "commas": ([*SHAPE, "image=1,3"], 2, "'image=1,3'", "image=1x3:"),
    "a colon": ([*SHAPE, "image:1x3"], 2, "'image:1x3'", "image=1x3:"),
    "no name": ([*SHAPE, "1x3"], 2, "'1x3'", "NAME=1x3x224x224"),
    "a zero": ([*SHAPE, "image=0x3"], 2, "'image=0x3'", "above 0"),
    "strings on an emulated CPU": (WORDS, 6, "'s' holds strings", "--on"),
    "no folder": (["bench", "m.onnx", "-o", "/proc/no/a.json"], 6, "a.json", "path"),
    "below a file": (["compare", "a", "b", "--html", "suite.toml/a"], 2, "suite.toml", "path"),
    "a baseline of a device": ([*THERE, "--against", "a.json"], 2, "--against", "compare BEFORE"),
    "no time": (["bench", "model.onnx", "--time", "0s"], 2, "some time", "seconds"),
    "a target of no name": (["targets", ""], 2, "no target named ''", "arm64"),
    "a recipe of no name": (["recipes", ""], 2, "no recipe named ''", "int8"),
    "an unknown command": (["bnech"], 2, "no such command 'bnech'", "did you mean 'bench'?"),
    "an unknown option": (["bench", "--thraeds"], 2, "--thraeds", "did you mean '--threads'?"),
    "an option like several": (["bench", "--nope"], 2, "no such option: --nope", "did you mean"),
    "no number": (["bench", "--threads", "x"], 2, "'--threads'", "edgepack bench --help"),
    "no argument": (["verify"], 2, "'bundle'", "edgepack verify --help"),
}  # fmt: skip


@pytest.mark.parametrize("case", HINTS)
def test_an_error_names_the_thing_once_and_its_hint_solves_it(
    fail: Callable[..., tuple[int, list[str], str]], case: str
) -> None:
    args, expected, said, hint = HINTS[case]
    code, (error, told), _ = fail(*args)
    assert code == expected
    assert said in error
    assert hint in told
    assert not re.search("did you mean|possible", error.lower())
    assert os.linesep not in error
