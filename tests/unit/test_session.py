import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.base.errors import DataError, MachineError, ModelError, SafetyError
from edgepack.runtime import machine, saturation
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Signature, TensorSpec

FLOAT = TensorProto.FLOAT
ZERO = np.zeros((1, 4), np.float32)


def build(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def tensor(name: str, *shape: int | str | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def add(weight: TensorProto | None = None) -> bytes:
    weight = weight or numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return build([node], [tensor("x", "batch", 4)], [tensor("y", "batch", 4)], [weight])


def running_sum() -> bytes:
    """Build hn = h + x and y = 2 hn."""
    nodes = [
        helper.make_node("Add", ["h", "x"], ["hn"]),
        helper.make_node("Add", ["hn", "hn"], ["y"]),
    ]
    inputs = [tensor("x", "batch", 2), tensor("h", "batch", 2)]
    return build(nodes, inputs, [tensor("y", "batch", 2), tensor("hn", "batch", 2)], [])


def test_a_session_tells_the_interface_as_the_model_has_it() -> None:
    session = Session(add())
    assert session.inputs == (TensorSpec("x", "float32", ("batch", 4)),)
    assert session.outputs == (TensorSpec("y", "float32", ("batch", 4)),)


def test_a_session_gives_the_outputs_that_are_wanted() -> None:
    session = Session(running_sum())
    sample = {"x": np.ones((1, 2), np.float32), "h": np.ones((1, 2), np.float32)}
    assert session.run(sample, ["hn"])["hn"].tolist() == [[2, 2]]
    assert {k: v.tolist() for k, v in session.run(sample).items()} == {
        "y": [[4, 4]],
        "hn": [[2, 2]],
    }


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"location\xff", add()[:-9]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="toy") as caught:
        Session(data, where="toy")
    assert caught.value.code == "E-MODEL-LOAD"


def test_the_second_format_of_the_runtime_is_not_parsed() -> None:
    with pytest.raises(ModelError, match=r"protobuf parsing failed"):
        Session(bytes(4) + b"ORTM" + bytes(100))


def test_a_provider_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MachineError, match="NnapiExecutionProvider") as caught:
        Session(add(), Options(provider="NnapiExecutionProvider"))
    assert caught.value.code == "E-EP-MISSING"


@pytest.mark.parametrize("location", ["w.bin", "../w.bin", "/tmp/w.bin", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("level", ["all", "disable"])
def test_weights_outside_the_bytes_are_refused_though_the_file_is_there(
    location: str, level: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.bin").write_bytes(bytes(16))
    weight = TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    with pytest.raises(SafetyError, match="outside itself"):
        Session(add(weight), Options(level=level))


@pytest.mark.parametrize(
    "sample", [{}, {"x": ZERO.astype(np.float64)}, {"x": ZERO[:, :3]}, {"x": ZERO, "z": ZERO}]
)
def test_a_sample_that_does_not_fit_is_the_datas_fault(sample: Any) -> None:
    with pytest.raises(DataError, match="does not run"):
        Session(add()).run(sample)


def test_a_model_that_fails_on_a_sample_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    shape = tensor("s", 1, kind=TensorProto.INT64)
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    session = Session(build([node], [tensor("x", None), shape], [tensor("y", None)], []))
    with pytest.raises(ModelError) as caught:
        session.run({"x": ZERO[0], "s": np.array([3])})
    assert caught.value.code == "E-MODEL-RUN"
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_name_in_a_hostile_model_does_not_steer_the_terminal() -> None:
    weight = numpy_helper.from_array(ZERO, "w")
    node = helper.make_node("\x1b[2JAdd", ["x", "w"], ["y"])
    with pytest.raises(ModelError) as caught:
        Session(build([node], [tensor("x", 1, 4)], [tensor("y", 1, 4)], [weight]))
    assert str(caught.value).isprintable()


def test_a_config_entry_without_a_name_is_refused() -> None:
    with pytest.raises(ModelError, match="the runtime refuses"):
        Session(add(), Options(entries={"": "1"}))


def test_the_optimized_graph_can_be_kept(tmp_path: Path) -> None:
    Session(add(), Options(save_optimized=tmp_path / "optimized.onnx"))
    assert (tmp_path / "optimized.onnx").stat().st_size > 0


def test_importing_the_runtime_side_turns_telemetry_off() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_state_goes_from_frame_to_frame_and_starts_at_zero() -> None:
    session = Session(running_sum())
    signature = Signature(session.inputs, session.outputs, {"hn": "h"})
    frames = [{"x": np.full((3, 2), value, np.float32)} for value in (1, 2, 3)]
    for _ in range(2):
        sums = [int(out["y"][2, 1]) for out in run_sequence(session.run, frames, signature)]
        assert sums == [2, 6, 12]


def test_without_state_a_sequence_is_a_plain_loop() -> None:
    session = Session(add())
    signature = Signature(session.inputs, session.outputs)
    results = run_sequence(session.run, [{"x": ZERO}, {"x": ZERO + 1}], signature)
    assert [out["y"].tolist() for out in results] == [[[0, 1, 2, 3]], [[1, 2, 3, 4]]]


def test_the_probe_is_one_integer_product() -> None:
    weights = [
        numpy_helper.from_array(np.full((64, 4), 127, np.int8), "b"),
        numpy_helper.from_array(np.array(0, np.uint8), "az"),
        numpy_helper.from_array(np.array(0, np.int8), "bz"),
    ]
    inputs = [tensor("a", 1, 64, kind=TensorProto.UINT8)]
    outputs = [tensor("y", 1, 4, kind=TensorProto.INT32)]
    node = helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])
    graph = helper.make_graph([node], "p", inputs, outputs, weights)
    opset = [helper.make_opsetid("", 10)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=5)
    assert model.SerializeToString() == saturation.PROBE


def test_exact_mode_multiplies_bytes_without_loss() -> None:
    session = Session(saturation.PROBE, Options(exact=True))
    assert session.run(saturation.SAMPLE)["y"].tolist() == [[saturation.PRODUCT] * 4]


def test_a_cpu_saturates_where_it_has_avx2_and_no_vnni() -> None:
    features = machine.features() or frozenset()
    vnni = features & {"avx_vnni", "avx512_vnni", "avx_vnni_int8"}
    assert saturation.saturates() == ("avx2" in features and not vnni)


def test_a_bound_call_computes_what_a_run_does() -> None:
    session, sample = Session(add()), {"x": np.ones((2, 4), np.float32)}
    (value,) = session.bound(sample)()
    np.testing.assert_array_equal(value, session.run(sample)["y"])


def test_sizes_given_to_open_dimensions_decide_those_of_outputs() -> None:
    session = Session(add(), Options(level="disable", dimensions={"batch": 3}))
    assert session.outputs == (TensorSpec("y", "float32", (3, 4)),)
