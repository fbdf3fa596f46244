"""What earlier runs allow to say, on made-up times."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgepack.base.errors import DataError, RequestError
from edgepack.bench import baseline, measured, surroundings
from edgepack.bench.measure import facts
from edgepack.bench.measured import Opened, Process, Result, Samples
from edgepack.bench.record import Options
from edgepack.bench.scenario import Cold, Single
from edgepack.bench.sensors import Reading
from edgepack.bench.subject import Subject
from edgepack.bench.verdict import Bars
from edgepack.spec.signature import Signature, TensorSpec
from tests.comparisons import CALM

FACE = Signature((TensorSpec("x", "float32", (2, 4)),), ())
ONE = Options(threads=1, exact=False, level="all", provider="CPUExecutionProvider", entries={})
SUBJECT = Subject("m.onnx", "00", b"", ONE, [], "made up", FACE)


def run(seconds: float = 0.01, model: str = "m.onnx") -> Result:
    flat = (seconds,) * 40
    samples = Samples(tuple(np.cumsum(flat).tolist()), flat, flat, (0,) * 40)
    quiet = Reading(0.0, None, None)
    return Result(
        model=model,
        sha256="00",
        options=ONE,
        scenario=Single(),
        inputs="made up",
        clock="cpu",
        rate=None,
        processes=(Process(Opened(0.1, 0.2, 0.3), samples),) * 5,
        memory=None,
        joules=None,
        elapsed=1.0,
        ended="",
        before=msgspec.structs.replace(CALM, governor=surroundings.look().governor),
        after=CALM,
        sensors=(quiet, quiet),
        machine=facts(),
        signature=FACE,
    )


def test_the_interval_is_that_of_one_more_run_worked_by_hand() -> None:
    levels = [0.0, 0.01, -0.01, 0.02, -0.02]  # standard deviation 0.0158114
    said = baseline.judge(levels, 0.1, Bars())
    half = 4.604095 * 0.0158114 * math.sqrt(1.2)  # Student, 4 degrees of freedom, 99 %
    assert said.interval == pytest.approx((math.exp(0.1 - half), math.exp(0.1 + half)), rel=1e-6)
    assert said.decision == "slower"
    assert baseline.judge(levels, -0.1, Bars()).decision == "faster"
    assert baseline.judge(levels, 0.05, Bars()).decision == "inconclusive"
    assert baseline.judge([0.0, 0.001, -0.001] * 2, 0.0, Bars()).decision == "no difference"


@pytest.mark.parametrize("number", [1, 2, 4])
def test_fewer_than_five_earlier_runs_decide_nothing_however_large_the_change(number: int) -> None:
    said = baseline.judge([0.0] * number, 1.0, Bars())
    assert (said.decision, said.reason) == ("inconclusive", "too few earlier runs")
    assert (said.interval is None) == (number == 1)


def test_equal_runs_are_called_different_no_oftener_than_the_error_allows() -> None:
    draws = np.random.default_rng(0).normal(0.0, 0.015, (2000, 6))
    said = [baseline.judge(list(row[:5]), row[5], Bars(0.0, 0.02)).decision for row in draws]
    assert sum(each in {"slower", "faster"} for each in said) <= 35  # 20 expected, SD 4.5


def test_a_run_stands_for_its_processes_and_a_cold_one_for_its_starts() -> None:
    assert baseline.level(run(0.01)) == pytest.approx(math.log(0.01))
    cold = msgspec.structs.replace(run(), scenario=Cold())
    assert baseline.level(cold) == pytest.approx(math.log(0.6))


def test_a_new_run_that_is_invalid_decides_nothing() -> None:
    slow = tuple(0.01 if n < 20 else 0.02 for n in range(40))
    drifted = Process(None, Samples(slow, slow, slow, (0,) * 40))
    said = baseline.state(
        (run(),) * 5, msgspec.structs.replace(run(), processes=(drifted,)), Bars()
    )
    assert (said.decision, said.reason) == ("inconclusive", "this run is invalid")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"machine": {**facts(), "cpu": "another"}}, "cpu was 'another'"),
        ({"machine": {**facts(), "onnxruntime": "1.0"}}, "onnxruntime was '1.0'"),
        ({"machine": {**facts(), "features": ["mmx9"]}}, "features now without mmx9"),
        ({"scenario": Single(warmup=3)}, '"warmup":3'),
        ({"options": msgspec.structs.replace(ONE, threads=7)}, "threads was 7, is 1"),
        ({"signature": Signature((), ())}, "signature was"),
        ({"inputs": "golden samples"}, "inputs was 'golden samples'"),
        ({"ended": "interrupted"}, "describes nothing: it ended early"),
        ({"processes": ()}, "holds no timed run"),
        ({"model": "n.onnx", "signature": None}, "signature was None"),
    ],
)
def test_a_baseline_measured_otherwise_is_refused_and_the_difference_named(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    path = tmp_path / "base.json"
    path.write_bytes(measured.encode((msgspec.structs.replace(run(), **change),)))
    with pytest.raises(RequestError) as error:
        baseline.find([path], [SUBJECT], Single())
    assert named in str(error.value)
    assert error.value.hint


def test_runs_of_several_files_belong_to_the_model_of_their_path(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.json" for n in range(2)]
    for path, seconds in zip(paths, (0.01, 0.02), strict=True):
        path.write_bytes(measured.encode((run(seconds), run(seconds, "n.onnx"))))
    (found,) = baseline.find(paths, [SUBJECT], Single())
    assert [each.model for each in found] == ["m.onnx", "m.onnx"]
    other = Subject("o.onnx", "00", b"", ONE, [], "made up", FACE)
    with pytest.raises(RequestError, match="no baseline holds") as error:
        baseline.find(paths, [other], Single())
    assert "onnx" in error.value.hint


def test_a_run_given_twice_is_refused_for_it_would_show_no_spread(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_bytes(measured.encode((run(),)))
    with pytest.raises(RequestError, match="given twice"):
        baseline.find([path, path], [SUBJECT], Single())


def test_what_is_no_measurement_of_ours_is_no_baseline(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text('{"format": "edgepack-devices/1", "results": []}')
    with pytest.raises(DataError, match="is no measurement"):
        baseline.find([path], [SUBJECT], Single())
    with pytest.raises(RequestError, match="cannot read"):
        baseline.find([tmp_path / "none.json"], [SUBJECT], Single())
