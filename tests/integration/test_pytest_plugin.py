"""``edgepack_compare`` as users have it: in a pytest of its own."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgepack.bench.findings import find
from edgepack.bench.verdict import Bars
from edgepack.pytest_plugin import InconclusiveWarning, judge
from tests import comparisons
from tests.models import Array, proto, value

pytest_plugins = ("pytester",)

BARS = Bars()


def chain(layers: int) -> bytes:
    """Return products of 64 x 64 matrices, one after the other."""
    names = [f"h{n}" for n in range(layers)] + ["y"]
    tensors = ["x", *names]
    nodes = [
        helper.make_node("MatMul", [a, "w"], [b]) for a, b in zip(tensors, names, strict=False)
    ]
    weights: dict[str, Array] = {"w": np.eye(64, dtype=np.float32)}
    inputs, outputs = [value("x", (64, 64))], [value("y", (64, 64))]
    data: bytes = proto(nodes, weights, inputs=inputs, outputs=outputs).SerializeToString()
    return data


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # installed or not, it is this one
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (pytester.path / "short.onnx").write_bytes(chain(1))
    (pytester.path / "long.onnx").write_bytes(chain(200))
    return pytester


def run(project: pytest.Pytester, body: str, *args: str) -> pytest.RunResult:
    project.makepyfile(f"def test_it(edgepack_compare):\n    {body}\n")
    return project.runpytest_subprocess("-p", "edgepack.pytest_plugin", *args)


def test_a_model_of_two_hundred_times_the_work_fails_the_test_with_ratio_and_interval(
    project: pytest.Pytester,
) -> None:
    done = run(project, 'edgepack_compare("short.onnx", "long.onnx", threads=1)')
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["long.onnx beside short.onnx: slower, * interval [[]*; 0.5 % are tolerated"]
    )


def test_the_faster_one_passes_and_the_verdict_is_returned(project: pytest.Pytester) -> None:
    body = 'assert edgepack_compare("long.onnx", "short.onnx", threads=1).verdict.ratio < 0.5'
    run(project, body, "-W", "error").assert_outcomes(passed=1)


def test_what_cannot_be_compared_fails_with_its_sentence_and_hint(
    project: pytest.Pytester,
) -> None:
    done = run(project, 'edgepack_compare("short.onnx", "none.onnx")')
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["error[[]E-PATH]: *none.onnx*"])


def test_an_option_that_makes_no_sense_is_named(project: pytest.Pytester) -> None:
    done = run(project, 'edgepack_compare("a", "b")', "--edgepack-budget", "30")
    done.stdout.fnmatch_lines(["*--edgepack-budget: '30' has no unit*"])


def test_an_open_end_warns_and_fails_where_one_is_strict() -> None:
    found = find(comparisons.run([-0.3, 0.3, 0.0, 0.2, -0.2]), BARS)
    with pytest.warns(InconclusiveWarning, match=r"inconclusive, .* interval \["):
        judge(found, "b beside a", BARS, strict=False)
    with pytest.raises(pytest.fail.Exception, match=r"b beside a: inconclusive"):
        judge(found, "b beside a", BARS, strict=True)


@pytest.mark.parametrize("strict", [True, False])
def test_only_a_slower_model_fails_whatever_the_strictness(*, strict: bool) -> None:
    near = (0.0, 1e-4, -1e-4, 2e-4, -2e-4)
    for shift in (0.0, -0.1):
        judge(find(comparisons.run([x + shift for x in near]), BARS), "b", BARS, strict=strict)
    with pytest.raises(pytest.fail.Exception, match=r"slower, 1\.105"):
        judge(find(comparisons.run([x + 0.1 for x in near]), BARS), "b", BARS, strict=strict)


def test_the_entry_point_is_this_plugin_and_it_imports_nothing_of_weight() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    name = project["entry-points"]["pytest11"]["edgepack"]
    assert hasattr(import_module(name), "edgepack_compare")
    code = f"import {name}, sys; print({{'numpy', 'msgspec', 'onnxruntime'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "set()"
