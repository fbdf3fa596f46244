"""Whole builds of a small model: what lands, what it says, and that it repeats to the byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

import edgepack
from edgepack.base.errors import DataError, GateError, MachineError, ModelError, RequestError
from edgepack.base.files import sha256
from edgepack.bench.selftest import selftest
from edgepack.build import run
from edgepack.bundle.golden import encode
from edgepack.bundle.open import open_bundle
from edgepack.bundle.pack import pack
from edgepack.gate import tuned
from edgepack.intake.request import Request
from edgepack.report import record, text
from edgepack.report.built import Built
from edgepack.runtime import machine
from edgepack.runtime.model import shipped_options
from edgepack.runtime.session import Options, Session
from tests.models import proto, value, weight
from tests.projects import stripes, write_stripes


def _build(folder: Path, *targets: str, **options: object) -> list[Built]:
    fields = {
        "model": str(folder / "model.onnx"),
        "targets": targets,
        "calib": str(folder / "calib.npz"),
        "evaluation": str(folder / "eval.npz"),
        "out": folder / "dist",
        "force": True,
    }
    outcomes = list(run(Request(**(fields | options))))  # type: ignore[arg-type]
    for outcome in outcomes:
        if not isinstance(outcome, Built):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Built)]


def test_an_arm64_bundle_is_int8_accurate_and_was_executed(tmp_path: Path) -> None:
    (built,) = _build(write_stripes(tmp_path), "arm64")
    manifest = built.manifest
    assert manifest.precision.operators["Conv"] == {"int8": 2}
    assert manifest.accuracy is not None
    assert manifest.accuracy.n == 200
    assert manifest.accuracy.shipped >= manifest.accuracy.float_ - 0.01
    assert [entry.device for entry in manifest.executed] == ["qemu:cortex-a53", "qemu:cortex-a72"]
    assert manifest.executed[0].evaluated == 200
    assert manifest.executed[0].bit_equal == 1.0
    assert all(entry.shipped_instructions > 0 for entry in manifest.cost)


def test_two_builds_in_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    first = _build(write_stripes(tmp_path / "a"), "arm64")
    second = _build(write_stripes(tmp_path / "longer name" / "b"), "arm64")
    assert first[0].path.read_bytes() == second[0].path.read_bytes()


def test_a_replayed_report_gives_the_same_bytes_without_measuring(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    (built,) = _build(folder, "arm64")
    again = _build(folder, "arm64", replay=built.report, out=folder / "again")
    assert again[0].sha256 == built.sha256


def test_the_loaded_bundle_runs_and_tests_itself(tmp_path: Path) -> None:
    (built,) = _build(write_stripes(tmp_path), "x86_64", prefer="size")
    model = edgepack.load(built.path)
    images, labels = stripes(50, 7)
    scores = [model.run({"image": images[i : i + 1]})["scores"] for i in range(50)]
    right = np.mean([int(s.argmax()) == label for s, label in zip(scores, labels, strict=True)])
    assert right > 0.9
    assert all(model.selftest().passed.values())


def test_a_saturated_result_fails_the_self_test(tmp_path: Path) -> None:
    """The golden tolerance is too tight for what a saturating CPU would compute."""
    from edgepack.bundle.golden import judge

    (built,) = _build(write_stripes(tmp_path), "arm64")
    bundle = open_bundle(built.path)
    session = Session(bundle.model, Options(exact=False))
    saturated = [session.run(sample) for sample in bundle.golden.samples]
    exact_session = Session(bundle.model, Options(exact=True))
    exact = [exact_session.run(sample) for sample in bundle.golden.samples]
    assert all(judge(bundle.golden, bundle.manifest.golden.tolerance, exact).passed.values())
    differs = any(
        not np.array_equal(a["scores"], b["scores"]) for a, b in zip(saturated, exact, strict=True)
    )
    if differs:  # only where this CPU saturates
        judged = judge(bundle.golden, bundle.manifest.golden.tolerance, saturated)
        assert not all(judged.passed.values())


def test_without_calibration_float_ships_and_says_so(tmp_path: Path) -> None:
    (built,) = _build(write_stripes(tmp_path), "arm64", calib=None)
    assert "int8" not in built.manifest.precision.operators["Conv"]
    steps = {step.use: step for step in built.manifest.lineage.steps}
    assert built.manifest.precision.left_in_float["first"] == "there are no calibration data"
    assert steps["quantize_static"].edits == 0


def test_without_evaluation_the_gate_is_fidelity_on_samples_held_out(tmp_path: Path) -> None:
    (built,) = _build(write_stripes(tmp_path), "arm64", evaluation=None)
    assert built.manifest.accuracy is not None
    assert built.manifest.accuracy.metric == "agreement"
    assert 8 <= built.manifest.fidelity.n <= 16  # a fifth of 64, drawn
    assert built.manifest.fidelity.agreement == 1.0


def test_requiring_int8_with_an_impossible_limit_is_a_gate_error(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    images, _ = stripes(200, 2)
    session = Session((folder / "model.onnx").read_bytes())
    scores = session.run({"image": images})["scores"]  # float's own outputs: its error is 0
    np.savez(folder / "eval.npz", image=images, labels=scores)
    with pytest.raises(GateError, match="int8 is required"):
        _build(folder, "arm64", require="int8", metric="mse", max_drop=0.0)
    assert not (folder / "dist").exists()


def test_a_strict_limit_that_the_samples_cannot_show_is_a_gate_error(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    with np.load(folder / "eval.npz") as file:
        few = {name: array[:12] for name, array in file.items()}
    np.savez(folder / "eval.npz", **few)
    (built,) = _build(folder, "arm64")
    assert "int8" in built.manifest.precision.operators["Conv"]
    with pytest.raises(GateError, match="--strict, and the limit is not shown to hold") as caught:
        _build(folder, "arm64", strict=True, out=folder / "strict")
    assert "more evaluation samples" in caught.value.hint
    assert not (folder / "strict").exists()


def test_requiring_int8_without_calibration_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no calibration data"):
        _build(write_stripes(tmp_path), "arm64", calib=None, require="int8")


@pytest.mark.parametrize("target", ["cuda", "tensorrt", "arm64-dotprod", "arm64-i8mm", "web"])
def test_every_kind_of_target_builds(tmp_path: Path, target: str) -> None:
    (built,) = _build(write_stripes(tmp_path), target)
    assert open_bundle(built.path).sha256 == built.sha256
    kinds = {kind for counts in built.manifest.precision.operators.values() for kind in counts}
    assert "float16" in kinds if target == "cuda" else "int8" in kinds
    if target in {"cuda", "tensorrt"}:
        assert "not executed" in built.manifest.executed[0].device


def test_a_replay_takes_what_the_clock_said_and_not_the_clock(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    (built,) = _build(folder, "x86_64")
    report = json.loads(built.report.read_text())
    verdict = {"slower": "not slower", "not slower": "slower", "inconclusive": "not slower"}
    (speed,) = (timed["speed"] for timed in report["timed"].values() if timed["speed"])
    speed["verdict"] = verdict[speed["verdict"]]
    turned = folder / "turned.json"
    turned.write_text(json.dumps(report))
    with pytest.raises(RequestError, match="belongs to bundle"):
        _build(folder, "x86_64", replay=turned, out=folder / "again")
    again = _build(folder, "x86_64", replay=built.report, out=folder / "again")
    assert again[0].sha256 == built.sha256


def test_a_tuned_build_ships_what_was_shown_to_be_faster_and_repeats_from_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "BUDGET", 8.0)
    folder = write_stripes(tmp_path)
    (built,) = _build(folder, "x86_64", require="int8", tune=True)
    found = record.load(built.report, "x86_64").tuned
    assert found is not None
    assert found.sentence == built.tuned == built.sentences[-1]
    assert found.device == "local"
    assert all(name == "default" or name.startswith("all, ") for name in found.rounds[0])
    plain = {"graph_optimization_level": "all", "intra_op_num_threads": 0}
    assert built.manifest.runtime.session == (found.session or plain)
    again = _build(folder, "x86_64", require="int8", replay=built.report, out=folder / "again")
    assert again[0].sha256 == built.sha256


def test_options_of_a_report_and_nothing_else_enter_the_bundle_and_are_what_load_applies(
    tmp_path: Path,
) -> None:
    folder = write_stripes(tmp_path)
    (built,) = _build(folder, "x86_64", calib=None)
    plain = open_bundle(built.path)
    session = {"graph_optimization_level": "basic", "intra_op_num_threads": 64}
    runtime = msgspec.structs.replace(built.manifest.runtime, session=session)
    assert plain.extras["required_operators.config"].startswith(b"ai.onnx;")
    members = {"model.onnx": plain.model, "golden.npz": encode(plain.golden), **plain.extras}
    wanted = pack(msgspec.structs.replace(built.manifest, runtime=runtime, files={}), members)
    report = json.loads(built.report.read_text())
    report |= {"bundle_sha256": sha256(wanted), "tuned": {"sentence": "tuned", "session": session}}
    told = folder / "tuned.json"
    told.write_text(json.dumps(report))
    (again,) = _build(folder, "x86_64", calib=None, replay=told, out=folder / "again")
    assert again.path.read_bytes() == wanted
    rows = {row[0]: row[1] for row in text.build_rows(again)}
    assert rows["session options"] == "graph_optimization_level=basic, intra_op_num_threads=64"
    assert rows["tuning"] == "tuned"
    assert shipped_options(again.manifest, None).level == "basic"
    assert shipped_options(again.manifest, None).threads == machine.usable_cores()
    assert all(edgepack.load(again.path).selftest().passed.values())


def test_without_a_device_of_the_target_nothing_is_tuned_and_the_bundle_is_the_same(
    tmp_path: Path,
) -> None:
    folder = write_stripes(tmp_path)
    (plain,) = _build(folder, "web")
    (built,) = _build(folder, "web", tune=True)
    assert built.tuned.startswith("not tuned: no device of web is here: ")
    assert built.sha256 == plain.sha256


def test_a_report_is_not_replayed_for_another_target(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    (built,) = _build(folder, "web")
    with pytest.raises(RequestError, match="a build for web"):
        _build(folder, "cuda", replay=built.report)


def test_a_model_newer_than_the_promised_runtime_is_refused(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    model = onnx.load(folder / "model.onnx")
    model.opset_import[0].version = 23
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ModelError, match="reads up to 21"):
        _build(folder, "web")


def test_infinite_outputs_are_compared_as_such(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    model = onnx.load(folder / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Log", ["d"], ["logs"], name="log"))
    logs = onnx.helper.make_tensor_value_info("logs", onnx.TensorProto.FLOAT, ["batch", 8, 8, 8])
    model.graph.output.append(logs)
    onnx.save(model, folder / "model.onnx")
    (built,) = _build(folder, "web", recipe="float32")
    assert built.manifest.fidelity.sqnr_db is None


def test_a_model_that_takes_strings_ships_where_no_emulator_can_be_given_them(
    tmp_path: Path,
) -> None:
    words = TensorProto.STRING
    model = proto(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Equal", ["word", "known"], ["same"]),
            helper.make_node("Cast", ["same"], ["one"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["m", "one"], ["y"]),
        ],
        {"w": weight(16, 8)},
        inputs=[value("x", ["n", 16]), value("word", ["n", 1], words)],
        outputs=[value("y", ["n", 8])],
        opset=19,
    )
    model.graph.initializer.add(name="known", data_type=words, dims=[1, 1], string_data=[b"go"])
    onnx.save(model, tmp_path / "model.onnx")
    data = {"x": weight(24, 16, seed=1), "word": np.array(["go", "no"] * 12)[:, None]}
    np.savez(tmp_path / "calib.npz", **data)  # type: ignore[arg-type]
    options = {"evaluation": None, "require": "int8"}
    (built,) = _build(tmp_path, "arm64", **options)
    assert built.manifest.precision.operators["MatMul"] == {"int8": 1}
    assert [e.device for e in built.manifest.executed] == ["not executed"] * 2
    assert "'word' holds strings" in built.manifest.executed[0].note
    with pytest.raises(MachineError, match="'word' holds strings"):
        _build(tmp_path, "arm64", **options, on=("qemu:cortex-a53",))
    with pytest.raises(MachineError, match="'word' holds strings"):
        selftest(open_bundle(built.path), "qemu:cortex-a53")


def test_float32_that_ships_in_place_of_float16_says_why(tmp_path: Path) -> None:
    (built,) = _build(write_stripes(tmp_path), "x86_64", recipe="float16", prefer="size")
    assert built.speed.startswith("float32 ships: x86_64 has no float16 kernels")


def test_labels_that_count_from_one_are_told_to_count_from_zero(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    data = dict(np.load(folder / "eval.npz"))
    np.savez(folder / "eval.npz", **data | {"labels": data["labels"] + 1})
    with pytest.raises(DataError, match="classes go from 0 to 1") as caught:
        _build(folder, "x86_64")
    assert caught.value.hint == "number classes from 0"


WRONG_LABELS: dict[str, tuple[Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]], str]] = {
    "of a class too many": (lambda labels: labels + 1, "classes go from 0 to 1"),
    "that are no whole numbers": (lambda labels: labels + 0.5, "is no class"),
    "that are one-hot": (lambda labels: np.eye(2, dtype=np.int64)[labels], "not a class"),
    "that are fewer than the images": (lambda labels: labels[:-1], "199"),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_are_refused_before_anything_is_calibrated(tmp_path: Path, case: str) -> None:
    change, reason = WRONG_LABELS[case]
    folder, told = write_stripes(tmp_path), list[str]()
    data = dict(np.load(folder / "eval.npz"))
    np.savez(folder / "eval.npz", **data | {"labels": change(data["labels"])})
    asked = Request(
        model=str(folder / "model.onnx"),
        targets=("x86_64",),
        calib=str(folder / "calib.npz"),
        evaluation=str(folder / "eval.npz"),
        out=folder / "dist",
    )
    with pytest.raises(DataError, match=reason):
        list(run(asked, told.append))
    assert told == [f"reading {asked.model}"]


def test_one_sample_does_not_both_calibrate_and_judge(tmp_path: Path) -> None:
    folder = write_stripes(tmp_path)
    np.savez(folder / "calib.npz", image=stripes(1, 1)[0])
    with pytest.raises(DataError, match="at least 2 are needed") as caught:
        _build(folder, "x86_64", evaluation=None)
    assert (caught.value.code, caught.value.exit_code) == ("E-CAL-FEW", 4)
    assert not (folder / "dist").exists()
    (float_,) = _build(folder, "x86_64", evaluation=None, recipe="float32")
    assert float_.manifest.precision.operators["Conv"] == {"float32": 2}
    (judged,) = _build(folder, "x86_64", prefer="size")
    assert "only one sample in the calibration data" in " ".join(judged.manifest.lineage.notes)
