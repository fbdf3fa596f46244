import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepack.base.errors import ModelError, RequestError, SafetyError
from edgepack.bundle import archive, golden, rules, selfcontained
from edgepack.bundle.golden import Golden, judge
from edgepack.bundle.open import open_bundle
from edgepack.bundle.pack import pack
from edgepack.bundle.reading import opened
from edgepack.spec.manifest import Manifest

X = np.array([[[1, 2, 3, 4]], [[0, -1, 0, 1]]], np.float32)
GOLDEN = Golden({"x": X}, {"y": X[..., :3]})
NOISE = np.random.default_rng(0).bytes(10_000)


def manifest() -> Manifest:
    path = Path(__file__).parents[1] / "attacks" / "manifest.json"
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


def members(model: bytes = NOISE) -> dict[str, bytes]:
    return {"model.onnx": model, "golden.npz": golden.encode(GOLDEN), "assets/labels.txt": b"cat"}


def test_equal_parts_give_equal_bytes_in_whatever_order_they_come() -> None:
    parts = members()
    assert pack(manifest(), parts) == pack(manifest(), dict(reversed(parts.items())))


def test_what_is_packed_is_what_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "small.edgepack"
    path.write_bytes(pack(manifest(), members()))
    found = open_bundle(path)
    assert found.model == NOISE
    assert found.extras == {"assets/labels.txt": b"cat"}
    assert found.manifest.files["model.onnx"].bytes == len(NOISE)
    assert msgspec.structs.replace(found.manifest, files={}) == manifest()
    np.testing.assert_array_equal(found.golden.inputs["x"], X)


def test_a_file_that_shrinks_while_it_is_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.edgepack"
    path.write_bytes(pack(manifest(), members()))
    with opened(path) as data:
        model = archive.index(data, 9, "it")[-1]
        os.truncate(path, 9000)
        with pytest.raises(SafetyError, match=r"model\.onnx' is damaged"):
            archive.extract(data, model, "it", crc=False)


def test_python_opens_it_and_finds_the_manifest_first() -> None:
    with zipfile.ZipFile(io.BytesIO(pack(manifest(), members()))) as file:
        assert file.testzip() is None
        assert file.namelist() == ["manifest.json", "assets/labels.txt", "golden.npz", "model.onnx"]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in file.infolist()} == {0o100644}
        assert json.loads(file.read("manifest.json"))["format"] == "edgepack/1"


@pytest.mark.skipif(shutil.which("unzip") is None, reason="no unzip here")
@pytest.mark.parametrize("model", [NOISE, NOISE[:100] * 50])
def test_unzip_opens_it(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.edgepack"
    path.write_bytes(pack(manifest(), members(model)))
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_that_does_not_deflate_starts_at_a_page() -> None:
    assert pack(manifest(), members()).index(NOISE) % 4096 == 0


def test_a_model_that_deflates_by_less_than_a_tenth_is_stored() -> None:
    for zeros, method in ((950, archive.STORED), (1200, archive.DEFLATED)):
        data = archive.write({"model.onnx": NOISE + bytes(zeros)})
        assert archive.index(data, 1, "it")[0].method == method


def test_what_would_look_like_a_bomb_is_stored() -> None:
    data = archive.write({"model.onnx": bytes(100_000)})
    (entry,) = archive.index(data, 1, "it")
    assert entry.method == archive.STORED
    assert archive.extract(data, entry, "it") == bytes(100_000)


def test_golden_samples_open_with_numpy() -> None:
    with np.load(io.BytesIO(golden.encode(GOLDEN))) as arrays:
        assert sorted(arrays.files) == ["input.x", "output.y"]
        np.testing.assert_array_equal(arrays["input.x"], X)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "<U3", "object"])
def test_golden_samples_keep_their_dtype(dtype: str) -> None:
    array = np.array([["a", "bcd"], ["", "é"]] if dtype in {"<U3", "object"} else [[0, 1], [1, 0]])
    given = Golden({"α/h:0": array.astype(dtype)}, {"y": X})
    found = golden.decode(golden.encode(given), "it").inputs["α/h:0"]
    assert found.dtype == np.dtype("<U3" if dtype == "object" else dtype)
    assert found.tolist() == given.inputs["α/h:0"].tolist()


def test_golden_runs_of_other_shapes_are_left_out() -> None:
    one, wide = {"x": np.zeros((1, 4))}, {"x": np.zeros((2, 4))}
    assert Golden.of([one, wide, one], [one, one, one]).n == 2


def test_a_golden_sample_is_what_one_run_takes() -> None:
    scalar = Golden({"n": np.array([3, 4])}, {"y": X})
    assert [(s["n"].shape, int(s["n"])) for s in scalar.samples] == [((), 3), ((), 4)]


def test_the_distance_from_golden_is_the_largest_one() -> None:
    test = judge(GOLDEN, {"y": 0.5}, [{"y": X[0, :, :3] + 0.25}, {"y": X[1, :, :3] - 0.5}])
    assert (test.largest, test.passed, test.n) == ({"y": 0.5}, {"y": True}, 2)


def test_a_distance_beyond_tolerance_is_refused_with_its_figures() -> None:
    test = judge(GOLDEN, {"y": 0.1}, [{"y": X[0, :, :3] + 0.25}, {"y": X[1, :, :3]}])
    with pytest.raises(
        SafetyError, match=r"'y' is 0\.25 .* tolerance 0\.1, on a toaster"
    ) as caught:
        test.require("on a toaster")
    assert (caught.value.code, caught.value.exit_code) == ("E-GOLDEN", 7)


@pytest.mark.parametrize(
    ("want", "got", "far"),
    [
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([1, 2], [1, 2, 3], np.inf),
        ([2**63 - 1, 0], [2**63 - 1, 1], 1.0),
        ([True, False], [True, True], 1.0),
        (["a", "b"], ["a", "c"], np.inf),
        ([], [], 0.0),
    ],
)
def test_not_a_number_infinity_and_words_are_compared_as_they_should(
    want: list[Any], got: list[Any], far: float
) -> None:
    only = Golden({"x": X[:1]}, {"y": np.array([want])})
    assert judge(only, {"y": 0.0}, [{"y": np.array(got)}]).largest == {"y": far}


def test_a_missing_output_fails() -> None:
    assert judge(GOLDEN, {"y": 9.0}, [{}, {}]).passed == {"y": False}


@pytest.mark.parametrize("make", ["missing", "directory", "pipe"])
def test_a_path_that_is_no_file_is_the_callers_to_mend(make: str, tmp_path: Path) -> None:
    path = tmp_path / "small.edgepack"
    if make == "directory":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    with pytest.raises(RequestError, match=r"small\.edgepack"):
        open_bundle(path)


def test_a_bundle_that_would_be_refused_is_not_packed() -> None:
    other = members() | {"golden.npz": golden.encode(Golden({"x": X}, {"z": X}))}
    with pytest.raises(SafetyError, match="other names"):
        pack(manifest(), other)


def test_a_member_larger_than_allowed_is_not_packed() -> None:
    with pytest.raises(ModelError, match=r"preprocess\.json"):
        pack(manifest(), members() | {"preprocess.json": bytes(2**20 + 1)})


@pytest.mark.parametrize("name", ["assets/labels.txt", "assets/a", "assets/A_1-b.v2.json"])
def test_an_asset_may_have_a_plain_name(name: str) -> None:
    assert rules.cap(name) is not None


@pytest.mark.parametrize("name", [".hidden", "", "a..b", "a.", "a b", "a\n", "a" * 101, "a/b", "ä"])
def test_an_asset_may_not_have_another_name(name: str) -> None:
    assert rules.cap(f"assets/{name}") is None


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    return tensor


def hide(place: str) -> bytes:
    """Put an external tensor somewhere in a model."""
    model, tensor = onnx.ModelProto(), external_tensor()
    model.graph.node.add(op_type="If").attribute.add(name="branch").g.node.add(op_type="Constant")
    inner = model.graph.node[0].attribute[0].g
    match place:
        case "initializer":
            model.graph.initializer.append(tensor)
        case "attribute":
            inner.node[0].attribute.add(name="value").t.CopyFrom(tensor)
        case "subgraph":
            inner.initializer.append(tensor)
        case "sparse":
            model.graph.sparse_initializer.add().values.CopyFrom(tensor)
        case "function":
            model.functions.add().node.add().attribute.add().tensors.append(tensor)
        case "training":
            model.training_info.add().algorithm.initializer.append(tensor)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "place", ["initializer", "attribute", "subgraph", "sparse", "function", "training"]
)
def test_external_data_is_found_wherever_it_hides(place: str) -> None:
    assert selfcontained.external(hide(place))


def test_a_long_winded_length_does_not_hide_external_data() -> None:
    entry = b"\x0a\x88\x00location"  # the length 8 in two bytes; every protobuf parser takes it
    tensor = b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    assert selfcontained.external(b"\x3a" + bytes([len(graph)]) + graph)


def test_a_tensor_called_location_is_not_external_data() -> None:
    node = helper.make_node("Relu", ["location"], ["y"])
    model = helper.make_model(helper.make_graph([node], "location", [], []))
    assert not selfcontained.external(model.SerializeToString())


def test_broken_protobuf_is_not_taken_for_self_contained() -> None:
    with pytest.raises(ValueError, match="broken protobuf"):
        selfcontained.external(b"location\xff")


def large() -> onnx.ModelProto:
    """Return a model with 8 MiB of weights that spell the key of external data."""
    weight = TensorProto(
        name="large", data_type=2, dims=[1 << 23], raw_data=b"location" * (1 << 20)
    )
    return helper.make_model(helper.make_graph([], "g", [], [], [weight]))


def test_weights_of_a_large_model_are_not_searched_through() -> None:
    model = large().SerializeToString()
    assert len(selfcontained._without_weights(model)) < 100
    assert not selfcontained.external(model)


def test_external_data_beside_large_weights_is_found() -> None:
    for index in (0, 1):
        model = large()
        model.graph.initializer.insert(index, external_tensor())
        assert selfcontained.external(model.SerializeToString())
    assert selfcontained.external(large().SerializeToString() + hide("attribute"))


def test_a_large_model_that_is_broken_is_searched_whole() -> None:
    with pytest.raises(ValueError, match="broken protobuf"):
        selfcontained.external(large().SerializeToString() + b"\xff")


def test_every_way_to_a_tensor_in_onnx_is_walked() -> None:
    fields: dict[str, dict[int, str]] = {}
    todo = [onnx.ModelProto.DESCRIPTOR]
    while todo:
        message = todo.pop()
        kinds = [field for field in message.fields if field.message_type is not None]
        fields[message.name] = {field.number: field.message_type.name for field in kinds}
        todo += [each.message_type for each in kinds if each.message_type.name not in fields]
    leading = {"TensorProto"}
    while more := {m for m, f in fields.items() if leading & set(f.values())} - leading:
        leading |= more
    ways = {
        message: {number: kind for number, kind in fields[message].items() if kind in leading}
        for message in leading - {"TensorProto"}
    }
    assert ways == selfcontained.WAYS
    named = TensorProto.DESCRIPTOR.fields_by_name
    assert named["external_data"].number == selfcontained.EXTERNAL_DATA
    assert named["data_location"].number == selfcontained.DATA_LOCATION
