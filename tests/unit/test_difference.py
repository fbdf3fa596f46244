"""What changed between two artifacts."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.cli import main
from edgepack.report.difference import Change, artifact, differences
from tests.unit.test_runtime_model import doubler


def scaler(path: Path, weight: float, op: str = "Mul", name: str = "w") -> Path:
    """Write y = x op w, w of four equal elements."""
    face = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [4]) for each in "xy"]
    constant = numpy_helper.from_array(np.full(4, weight, np.float32), name)
    nodes = [helper.make_node(op, ["x", name], ["y"], "n")]
    graph = helper.make_graph(nodes, "g", face[:1], face[1:], [constant])
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def changes(one: Path, other: Path) -> tuple[Change, ...]:
    return differences(artifact(one), artifact(other))


def test_a_file_does_not_differ_from_itself(tmp_path: Path) -> None:
    path = scaler(tmp_path / "a.onnx", 2)
    assert changes(path, path) == ()


def test_a_weight_that_moved_is_named_with_its_distance(tmp_path: Path) -> None:
    # (2.02 - 2)^2 / 2^2 = 1e-4 of the power: 40 dB
    (found,) = changes(scaler(tmp_path / "a.onnx", 2), scaler(tmp_path / "b.onnx", 2.02))
    assert (found.section, found.name) == ("weights", "w")
    assert str(found.after).endswith(", 40.0 dB")


def test_operators_and_weights_that_came_and_went_are_told(tmp_path: Path) -> None:
    one, other = scaler(tmp_path / "a.onnx", 2), scaler(tmp_path / "b.onnx", 2, "Add", "v")
    told = {(each.section, each.name): (each.before, each.after) for each in changes(one, other)}
    assert told["operators", "Mul float32"] == ("1", None)
    assert told["operators", "Add float32"] == (None, "1")
    assert told["weights", "w"][1] is None
    assert told["weights", "v"][0] is None


def test_what_bundles_say_of_themselves_is_compared(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    one, other = doubler(folders[0]), doubler(folders[1], runtime={"opset": 13})
    (found,) = changes(one, other)
    assert (found.section, found.name, found.after) == ("runtime", "opset", "13")


def test_a_model_is_not_different_for_having_no_manifest(tmp_path: Path) -> None:
    bundle, model = doubler(tmp_path), scaler(tmp_path / "a.onnx", 2)
    sections = {each.section for each in changes(bundle, model)}
    assert sections <= {"interface", "operators", "model", "weights"}


def test_the_command_prints_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = scaler(tmp_path / "a.onnx", 2), scaler(tmp_path / "b.onnx", 3)
    assert main(["diff", str(one), str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["changes"]] == ["w"]
    assert found["a"] != found["b"]


def test_a_missing_side_is_an_error_of_the_request(tmp_path: Path) -> None:
    assert main(["diff", str(scaler(tmp_path / "a.onnx", 2)), str(tmp_path / "b.onnx")]) == 2
