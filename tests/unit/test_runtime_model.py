import json
import platform
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

import edgepack
from edgepack.base.errors import DataError, MachineError, RequestError, SafetyError
from edgepack.bundle import golden
from edgepack.bundle.golden import Golden
from edgepack.bundle.pack import pack
from edgepack.runtime import machine, saturation
from edgepack.runtime import model as runtime_model
from edgepack.spec.manifest import Manifest

F = np.float32
ONES = np.ones((1, 2), F)


def plain() -> dict[str, Any]:
    text = Path(__file__).parents[1].joinpath("attacks", "manifest.json").read_text()
    manifest: dict[str, Any] = json.loads(text)
    manifest["runtime"]["arch"] = machine.arch()
    return manifest


def spec(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": ["batch", 2]}


def info(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])


def onnx(nodes: list[Any], inputs: str, outputs: str) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [*map(info, inputs.split())], [*map(info, outputs.split())]
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def bundle(folder: Path, model: bytes, runs: Golden, **changes: Any) -> Path:
    """Write a bundle of ``model``; ``changes`` replace parts of its manifest."""
    manifest = plain() | {
        "inputs": [spec(name) for name in runs.inputs],
        "outputs": [spec(name) for name in runs.outputs],
        "golden": {"n": runs.n, "tolerance": dict.fromkeys(runs.outputs, 1e-6)},
    }
    for key, value in changes.items():
        manifest[key] = manifest[key] | value
    path = folder / "small.edgepack"
    members = {"model.onnx": model, "golden.npz": golden.encode(runs)}
    path.write_bytes(pack(msgspec.convert(manifest, Manifest), members))
    return path


def doubler(folder: Path, **changes: Any) -> Path:
    """Write a bundle of y = x + x."""
    model = onnx([helper.make_node("Add", ["x", "x"], ["y"])], "x", "y")
    return bundle(folder, model, Golden({"x": ONES[None]}, {"y": 2 * ONES[None]}), **changes)


def running_sum(folder: Path) -> Path:
    """Write a bundle of hn = h + x and y = 2 hn, h carried."""
    nodes = [
        helper.make_node("Add", ["h", "x"], ["hn"]),
        helper.make_node("Add", ["hn", "hn"], ["y"]),
    ]
    one = ONES[None]
    runs = Golden({"x": one, "h": one}, {"y": 4 * one, "hn": 2 * one})
    return bundle(folder, onnx(nodes, "x h", "y hn"), runs, state={"hn": "h"})


def adder(folder: Path) -> Path:
    """Write a bundle of y = a + b."""
    model = onnx([helper.make_node("Add", ["a", "b"], ["y"])], "a b", "y")
    one = ONES[None]
    return bundle(folder, model, Golden({"a": one, "b": one}, {"y": 2 * one}))


def test_a_loaded_bundle_runs_and_passes_its_own_test(tmp_path: Path) -> None:
    model = edgepack.load(doubler(tmp_path))
    assert model.run({"x": ONES})["y"].tolist() == [[2, 2]]
    assert model(ONES)["y"].tolist() == [[2, 2]]
    assert model({"x": ONES})["y"].tolist() == [[2, 2]]
    test = model.selftest()
    assert (test.passed, test.largest, test.n) == ({"y": True}, {"y": 0.0}, 1)


def test_a_loaded_bundle_tells_what_it_takes(tmp_path: Path) -> None:
    model = edgepack.load(str(doubler(tmp_path)), threads=1)
    assert [str(spec) for spec in model.inputs] == ["x: float32[batch,2]"]
    assert [spec.name for spec in model.outputs] == ["y"]
    assert (model.state, model.manifest.name) == ({}, "small")


def test_a_model_with_several_inputs_wants_them_by_name(tmp_path: Path) -> None:
    model = edgepack.load(adder(tmp_path))
    assert model({"a": ONES, "b": ONES})["y"].tolist() == [[2, 2]]
    with pytest.raises(DataError, match="takes 2 inputs") as caught:
        model(ONES)
    assert caught.value.hint == "give a dict of a, b"


@pytest.mark.parametrize(
    ("sample", "words", "hint"),
    [
        ({"xx": ONES}, "no input 'xx'", "did you mean 'x'?"),
        ({}, "'x' is not given", "x: float32[batch,2]"),
        ({"x": ONES.astype(float)}, "'x' is float64, the model takes float32", "astype('float32')"),
        ({"x": [[1, 2]]}, "'x' is int64", "astype('float32')"),
        ({"x": np.array([["a", "b"]])}, "'x' is str", "astype"),
        ({"x": ONES[0]}, "shape [2]", "batch dimension"),
        ({"x": np.ones((1, 3), F)}, "shape [1, 3], the model takes x: float32[batch,2]", "axes"),
    ],
)
def test_a_sample_that_does_not_fit_is_told_what_would(
    sample: Any, words: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        edgepack.load(doubler(tmp_path)).run(sample)
    assert words in str(caught.value)
    assert hint in caught.value.hint


def test_state_that_is_left_out_is_carried(tmp_path: Path) -> None:
    model = edgepack.load(running_sum(tmp_path))
    assert [int(model(ONES)["y"][0, 0]) for _ in range(3)] == [2, 4, 6]
    model.reset()
    assert model(ONES)["y"].tolist() == [[2, 2]]


def test_state_that_is_given_leaves_the_carried_state_alone(tmp_path: Path) -> None:
    model = edgepack.load(running_sum(tmp_path))
    model(ONES)
    assert model.run({"x": ONES, "h": 9 * ONES})["hn"].tolist() == [[10, 10]]
    assert model.selftest().n == 1
    assert model(ONES)["hn"].tolist() == [[2, 2]]


def test_other_outputs_than_the_golden_ones_are_refused(tmp_path: Path) -> None:
    model = onnx([helper.make_node("Add", ["x", "x"], ["y"])], "x", "y")
    path = bundle(tmp_path, model, Golden({"x": ONES[None]}, {"y": 3 * ONES[None]}))
    with pytest.raises(SafetyError, match="'y' is 1 from its golden value") as caught:
        edgepack.load(path).selftest()
    assert (caught.value.code, caught.value.exit_code) == ("E-GOLDEN", 7)


def test_a_bundle_for_another_cpu_is_refused_with_a_way_out(tmp_path: Path) -> None:
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    path = doubler(tmp_path, runtime={"arch": other}, target={"emulate": ["cortex-a53"]})
    with pytest.raises(MachineError, match=f"CPU of type '{other}'") as caught:
        edgepack.load(path)
    assert caught.value.exit_code == 6
    assert caught.value.hint == f"edgepack verify {path} --on qemu:cortex-a53"


def test_a_bundle_for_a_newer_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"onnxruntime 99\.0"):
        edgepack.load(doubler(tmp_path, runtime={"min_onnxruntime": "99.0"}))


def test_a_bundle_for_a_provider_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="'TensorrtExecutionProvider'") as caught:
        edgepack.load(doubler(tmp_path, runtime={"provider": "TensorrtExecutionProvider"}))
    assert caught.value.hint.endswith("--on DEVICE")


def test_a_missing_bundle_is_the_callers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        edgepack.load(tmp_path / "none.edgepack")


def test_the_session_is_opened_as_the_manifest_says(tmp_path: Path) -> None:
    entries = {
        "intra_op_num_threads": 3,
        "graph_optimization_level": "basic",
        "session.disable_prepacking": "1",
    }
    manifest = edgepack.load(doubler(tmp_path, runtime={"session": entries})).manifest
    options = runtime_model.shipped_options(manifest, None)
    assert options.level == "basic"
    assert options.threads == min(3, machine.usable_cores())  # no more than there are
    assert options.entries == {"session.disable_prepacking": "1"}
    assert runtime_model.shipped_options(manifest, 2).threads == 2
    assert runtime_model.shipped_options(manifest, 0).threads == machine.threads()
    assert runtime_model.shipped_options(manifest, None, cores=2).threads == 2
    assert runtime_model.shipped_options(manifest, None, cores=8).threads == 3
    assert runtime_model.shipped_options(manifest, 0, cores=8).threads == 4


def opened_exact(folder: Path, int8: Any, kind: str) -> bool:
    operators = {"operators": {"MatMul": {kind: 1}}}
    model = edgepack.load(doubler(folder, target={"int8": int8}, precision=operators))
    return runtime_model.shipped_options(model.manifest, 1).exact


def test_integers_for_a_cpu_that_does_not_saturate_meet_one_that_does_in_exact_mode(
    tmp_path: Path,
) -> None:
    exact = opened_exact(tmp_path, {"saturating": False}, "int8")
    assert exact == saturation.saturates()


@pytest.mark.parametrize(
    ("int8", "kind"),
    [({"saturating": True}, "int8"), ({"saturating": False}, "float32"), (None, "int8")],
)
def test_exact_mode_is_not_paid_for_where_nothing_can_saturate(
    int8: Any, kind: str, tmp_path: Path
) -> None:
    assert not opened_exact(tmp_path, int8, kind)


def test_loading_holds_one_copy_of_the_model_and_keeps_none(tmp_path: Path) -> None:
    size = 4 << 20
    noise = np.random.default_rng(0).bytes(size)  # a weight that nobody reads, and nobody deflates
    weight = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[size], raw_data=noise)
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(relu, "g", [info("x")], [info("y")], [weight])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    path = bundle(tmp_path, model, Golden({"x": ONES[None]}, {"y": ONES[None]}))
    edgepack.load(path)
    del noise, weight, graph, model
    tracemalloc.start()
    loaded = edgepack.load(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loaded.selftest().n == 1
    assert peak < 1.1 * size
    assert kept < 0.1 * size
