"""Hostile and damaged models: each is refused with the right code, and nothing is allocated."""

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.base.errors import EdgepackError, ModelError, RequestError, SafetyError
from edgepack.graph.read import parse, read
from tests.models import linear_proto, proto, save_external, value, weight

node = helper.make_node
GOOD = linear_proto().SerializeToString()


def refused(
    data: bytes | onnx.ModelProto, code: str, kind: type[EdgepackError] = ModelError
) -> str:
    raw = data if isinstance(data, bytes) else data.SerializeToString()
    with pytest.raises(kind) as caught:
        parse(raw, "evil.onnx")
    assert caught.value.code == code
    return str(caught.value)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def test_paths_that_are_no_files_are_the_fault_of_the_request(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "none.onnx", tmp_path, tmp_path / "pipe.onnx", Path("a\0b.onnx")):
        with pytest.raises(RequestError) as caught:
            read(path)
        assert caught.value.code == "E-PATH"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_the_fault_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(RequestError, match="permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (zipped("archive/data.pkl"), "PyTorch checkpoint"),
        (zipped("model/archive_format"), "torch.export program"),
        (zipped("x.npy"), "NumPy archive"),
        (zipped("a"), "zip archive"),
        (zipped("a")[:20], "cut short"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
        (b'{"a": 1}', "JSON"),
    ],
)
def test_another_format_is_named(data: bytes, word: str) -> None:
    assert word in refused(data, "E-MODEL-TYPE")


def test_damaged_files_are_refused() -> None:
    refused(b"", "E-MODEL-EMPTY")
    refused(GOOD[: len(GOOD) // 2], "E-MODEL-CORRUPT")
    refused(np.random.default_rng(1).bytes(2000), "E-MODEL-CORRUPT")
    refused(onnx.ModelProto(ir_version=8), "E-MODEL-CORRUPT")


def test_any_single_damaged_byte_is_an_error_of_ours_or_a_model() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        data = bytearray(GOOD)
        data[rng.integers(len(data))] = rng.integers(256)
        with suppress(ModelError, SafetyError):
            parse(bytes(data), "mutant")


def test_a_model_that_crashes_the_converter_is_refused() -> None:
    nodes = [node("Squeeze", ["x"], ["y"], axes=[0])]
    model = proto(nodes, opset=11)
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.INT
    refused(model, "E-OPSET")


def test_models_from_the_future_are_refused() -> None:
    model = linear_proto()
    model.ir_version = 99
    refused(model, "E-IR")
    refused(proto([node("Relu", ["x"], ["y"])], opset=99), "E-OPSET")
    refused(proto([node("Relu", ["x"], ["y"])], opset=-1), "E-OPSET")
    model = linear_proto()
    del model.opset_import[:]
    refused(model, "E-OPSET")


@pytest.mark.parametrize(
    ("dims", "code", "kind"),
    [
        ([9999, 3], "E-MODEL-CORRUPT", ModelError),
        ([-4, -3], "E-MODEL-CORRUPT", ModelError),
        ([2**33, 2**33], "E-MODEL-CORRUPT", ModelError),
        ([0, 2**62], "E-MODEL-CORRUPT", ModelError),
        ([1] * 100, "E-MODEL-CORRUPT", ModelError),
        ([2**20, 2**20], "E-CAP", SafetyError),
    ],
)
def test_dimensions_that_lie_are_refused_before_anything_is_allocated(
    dims: list[int], code: str, kind: type[EdgepackError]
) -> None:
    model = linear_proto()
    model.graph.initializer[0].dims[:] = dims
    tracemalloc.start()
    refused(model, code, kind)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_typed_data_of_the_wrong_length_and_unknown_types_are_refused() -> None:
    model = linear_proto()
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])
    )
    model.graph.initializer[0].dims[:] = [4, 3]
    refused(model, "E-MODEL-CORRUPT")
    model.graph.initializer[0].data_type = 77
    refused(model, "E-MODEL-CORRUPT")


def test_bombs_are_seen_in_inferred_shapes() -> None:
    huge = np.array([2**20, 2**20])
    for op, inputs in (("ConstantOfShape", ["s"]), ("Expand", ["x1", "s"])):
        model = proto(
            [node(op, inputs, ["y"], name="bomb")], {"s": huge}, inputs=[value("x1", [1, 1])]
        )
        assert "TB" in refused(model, "E-CAP", SafetyError)
    hidden = helper.make_graph([node("ConstantOfShape", ["s"], ["b"])], "b", [], [value("b", None)])
    model = proto(
        [node("If", ["c"], ["y"], then_branch=hidden, else_branch=hidden)],
        {"s": huge},
        inputs=[value("c", [], TensorProto.BOOL)],
    )
    refused(model, "E-CAP", SafetyError)


def nested(depth: int) -> bytes:
    """Return a model of graphs inside graphs, written as wire format from the inside out."""

    def varint(number: int) -> bytes:
        out = b""
        while number > 0x7F:
            out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
        return out + bytes([number])

    pieces, size = [b"b\x03\n\x01y"], 5  # graph.output = [y]
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            pieces.append(tag + varint(size))
            size += len(pieces[-1])
        pieces.insert(0, b"b\x03\n\x01y")
        size += 5
    return b"\x08\x08B\x02\x10\x12:" + varint(size) + b"".join(reversed(pieces))


@pytest.mark.parametrize("depth", [20, 1000])
def test_graphs_nested_too_deep_are_refused(depth: int) -> None:
    refused(nested(depth), "E-CAP", SafetyError)


def test_functions_that_double_at_every_level_are_refused_before_they_are_inlined() -> None:
    model = proto([node("f0", ["x"], ["y"], domain="l")])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("l", 1)]
    for level in range(40):
        name = f"f{level + 1}" if level < 39 else "Relu"
        domain = "l" if level < 39 else ""
        body = [node(name, ["a"], ["t"], domain=domain), node(name, ["t"], ["b"], domain=domain)]
        model.functions.append(helper.make_function("l", f"f{level}", ["a"], ["b"], body, opsets))
    model.opset_import.append(opsets[1])
    refused(model, "E-CAP", SafetyError)
    model.functions[39].node[0].CopyFrom(node("f0", ["a"], ["t"], domain="l"))
    assert "calls itself" in refused(model, "E-MODEL-CORRUPT")


def test_more_nodes_than_any_model_has_are_refused() -> None:
    graph = proto([node("Relu", ["x"], ["y"])])
    graph.graph.node.extend([node("Relu", ["x"], [])] * 100_000)
    refused(graph, "E-CAP", SafetyError)


def test_broken_wiring_is_refused() -> None:
    cycle = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["a"], ["y"])]
    assert "cycle" in refused(proto(cycle), "E-GRAPH")
    assert "'nowhere'" in refused(proto([node("Add", ["x", "nowhere"], ["y"])]), "E-GRAPH")
    assert "'y'" in refused(proto([node("Relu", ["x"], ["z"])]), "E-GRAPH")
    assert "twice" in refused(proto([node("Relu", ["x"], ["y"])] * 2), "E-GRAPH")
    inner = helper.make_graph([node("Relu", ["y"], ["b"])], "b", [], [value("b", None)])
    loop = [node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    given = [value("c", [], TensorProto.BOOL)]
    assert "cycle" in refused(proto(loop, inputs=given), "E-GRAPH")


def test_an_output_that_is_no_tensor_is_refused() -> None:
    model = linear_proto()
    model.graph.output[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2]))
    )
    assert "is a sequence" in refused(model, "E-INTERFACE")


def test_unknown_operators_are_listed() -> None:
    nodes = [node("Magic", ["x"], ["a"], domain="acme"), node("Relux", ["a"], ["y"])]
    text = refused(proto(nodes), "E-OP-UNKNOWN")
    assert "Magic (acme 0)" in text
    assert "Relux (ai.onnx 18)" in text
    assert "Gelu" in refused(proto([node("Gelu", ["x"], ["y"])], opset=18), "E-OP-UNKNOWN")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_weights_are_named_with_the_place(bad: float) -> None:
    array = weight(4, 3)
    array[2, 1] = bad
    text = refused(linear_proto(array), "E-NAN-WEIGHT")
    assert "'w'" in text
    assert "[2, 1]" in text


def test_a_sparse_tensor_that_unfolds_into_a_bomb_is_refused() -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    for shape, index, code, kind in (
        ([2**20, 2**20], 0, "E-CAP", SafetyError),
        ([4, 3], 12, "E-MODEL-CORRUPT", ModelError),
        ([4, 3], -1, "E-MODEL-CORRUPT", ModelError),
    ):
        model = linear_proto()
        del model.graph.initializer[:]
        where = numpy_helper.from_array(np.array([index]), "i")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, shape))
        refused(model, code, kind)


def refused_file(path: Path, code: str, kind: type[EdgepackError]) -> str:
    with pytest.raises(kind) as caught:
        read(path)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "/etc/passwd",
        "a/../../w.bin",
        "C:\\w.bin",
        "C:w.bin",
        "a\\w.bin",
        "w.bin\0x",
        "",
        "..",
    ],
)
def test_external_data_may_not_leave_the_folder(tmp_path: Path, location: str) -> None:
    refused_file(save_external(tmp_path, location), "E-SEC-PATH", SafetyError)


def symbolic(folder: Path) -> None:
    (folder / "w.bin").rename(folder / "real.bin")
    (folder / "w.bin").symlink_to("real.bin")


def hard(folder: Path) -> None:
    (folder / "other.bin").hardlink_to(folder / "w.bin")


def pipe(folder: Path) -> None:
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")


@pytest.mark.parametrize("trick", [symbolic, hard, pipe])
def test_external_data_must_be_a_plain_file(tmp_path: Path, trick: Callable[[Path], None]) -> None:
    path = save_external(tmp_path)
    trick(tmp_path)
    refused_file(path, "E-SEC-PATH", SafetyError)


def test_external_data_may_not_lie_behind_a_linked_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "w.bin").write_bytes(bytes(48))
    (inside / "sub").symlink_to(outside)
    refused_file(save_external(inside, "sub/w.bin"), "E-SEC-PATH", SafetyError)


def test_missing_and_short_external_data_are_told_apart(tmp_path: Path) -> None:
    path = save_external(tmp_path, "lost.bin")
    assert str(tmp_path / "lost.bin") in refused_file(path, "E-DATA-MISSING", ModelError)
    for entries in ({"offset": "4"}, {"offset": "-4"}, {"offset": "9" * 19}, {"length": "-1"}):
        refused_file(save_external(tmp_path, **entries), "E-DATA-TRUNC", ModelError)
    refused_file(save_external(tmp_path, length="12"), "E-MODEL-CORRUPT", ModelError)
    path = save_external(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(40))
    refused_file(path, "E-DATA-TRUNC", ModelError)


def test_bytes_in_memory_may_not_name_files(tmp_path: Path) -> None:
    refused(save_external(tmp_path).read_bytes(), "E-SEC-PATH", SafetyError)
