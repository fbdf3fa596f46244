"""Hostile and damaged models: each is refused with the right code, and nothing is allocated."""

import io
import os
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.base.errors import EdgepackError, ModelError, RequestError, SafetyError
from edgepack.graph.read import parse, read
from tests.models import linear_proto, proto, value, weight

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


def conv(image: str = "x", kernel: str = "w") -> onnx.ModelProto:
    nodes = [node("Conv", [image, kernel], ["a"]), node("Relu", ["a"], ["y"])]
    return proto(nodes, {kernel: weight(4, 1, 3, 3)}, inputs=[value(image, [1, 1, 8, 8])])


def test_inputs_and_outputs_are_listed_once_and_have_names() -> None:
    model = conv()
    model.graph.input.append(model.graph.input[0])
    assert "input 'x' is listed twice" in refused(model, "E-INTERFACE")
    model = conv()
    model.graph.output.append(model.graph.output[0])
    assert "output 'y' is listed twice" in refused(model, "E-INTERFACE")
    assert "input '' is without a name" in refused(conv(image=""), "E-INTERFACE")


def test_an_input_has_a_type_and_positive_dimensions() -> None:
    model = conv()
    model.graph.input[0].type.ClearField("tensor_type")
    assert "no type" in refused(model, "E-INTERFACE")
    for size in (0, -1, -3):
        model = conv()
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size
        assert f"a dimension of {size}" in refused(model, "E-INTERFACE")


def test_an_input_that_an_operator_needs_may_not_be_left_out() -> None:
    assert "no name" in refused(conv(kernel=""), "E-GRAPH")
    model = conv()
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = ""
    assert "lacks its input 'X'" in refused(model, "E-GRAPH")
    model = conv()
    del model.graph.node[0].input[1]
    assert "lacks its input 'W'" in refused(model, "E-GRAPH")


@pytest.mark.parametrize("odd", ["\x1b[31mred", "a\nb", "a\0b", "\x9b1m"])
def test_names_of_tensors_with_control_characters_are_refused(odd: str) -> None:
    inner, output, dim = conv(), conv(), conv()
    inner.graph.node[0].output[0] = inner.graph.node[1].input[0] = odd
    output.graph.node[1].output[0] = output.graph.output[0].name = odd
    dim.graph.input[0].type.tensor_type.shape.dim[0].dim_param = odd
    for model in (conv(image=odd), conv(kernel=odd), inner, output, dim):
        assert repr(odd) in refused(model, "E-NAME")


def test_a_node_whose_name_has_control_characters_gets_another() -> None:
    model = conv()
    model.graph.node[0].name = "\x1b[31mred"
    found = parse(model.SerializeToString(), "odd.onnx")
    assert [each.name for each in found.model.graph] == ["Conv_0", "Relu_1"]
    assert any("control characters" in note for note in found.notes)


def loop(
    count: int | None, condition: onnx.NodeProto, inner: onnx.NodeProto | None = None
) -> onnx.ModelProto:
    """Return a loop whose body's condition is what ``condition`` gives as ``c2``."""
    body = helper.make_graph(
        [condition, inner or node("Relu", ["v"], ["v2"])],
        "body",
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("v", None)],
        [value("c2", [], TensorProto.BOOL), value("v2", None)],
    )
    start = ["" if count is None else "n", "t", "x"]
    nodes = [node("Loop", start, ["y"], body=body)]
    return proto(nodes, {"n": np.array(count or 0), "t": np.ones((), bool)})


COPY = node("Identity", ["c"], ["c2"])
TRUE = node("Constant", [], ["c2"], value=numpy_helper.from_array(np.ones((), bool)))
FALSE = node("Constant", [], ["c2"], value=numpy_helper.from_array(np.zeros((), bool)))
COMPUTED = node("Less", ["i", "i"], ["c2"])


@pytest.mark.parametrize("condition", [COPY, TRUE])
def test_a_loop_without_end_is_refused(condition: onnx.NodeProto) -> None:
    for count in (2**62, 1_000_001, None):
        assert "never ends" in refused(loop(count, condition), "E-CAP", SafetyError)


def test_loops_inside_loops_are_multiplied() -> None:
    inner = loop(10_000, COPY).graph.node[0]
    inner.input[2] = "v"
    inner.output[0] = "v2"
    assert "never ends" in refused(loop(10_000, COPY, inner), "E-CAP", SafetyError)


def test_a_loop_that_may_end_passes() -> None:
    for count, condition in ((3, COPY), (2**62, FALSE), (2**62, COMPUTED), (None, COMPUTED)):
        parse(loop(count, condition).SerializeToString(), "loop.onnx")


def test_a_broken_loop_is_no_crash_of_ours() -> None:
    for damage in ("input", "output"):
        model = loop(2**62, COPY)
        del getattr(model.graph.node[0].attribute[0].g, damage)[:]
        with suppress(ModelError, SafetyError):
            parse(model.SerializeToString(), "loop.onnx")
    model = loop(2**62, COPY)
    del model.graph.node[0].attribute[:]
    with suppress(ModelError, SafetyError):
        parse(model.SerializeToString(), "loop.onnx")


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
