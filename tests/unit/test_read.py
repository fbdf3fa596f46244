"""Reading straightens what is merely untidy, and says so."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgepack.graph.read import Read, parse, quantized_nodes, read
from edgepack.runtime.session import Session
from tests.models import linear_proto, proto, save_external, value, weight

node = helper.make_node
X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


def parsed(model: onnx.ModelProto) -> Read:
    return parse(model.SerializeToString(), "test")


def run(model: bytes, x: np.ndarray = X) -> np.ndarray:
    return Session(model).run({"x": x})["y"]


def bytes_of(found: Read) -> bytes:
    return bytes(ir.to_proto(found.model).SerializeToString())


def test_a_clean_model_is_read_without_a_note(tmp_path: Path) -> None:
    data = linear_proto().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    found = read(path)
    assert found.notes == ()
    assert (found.sha256, found.opset) == (hashlib.sha256(data).hexdigest(), 18)
    np.testing.assert_array_equal(run(bytes_of(found)), run(data))


def test_external_weights_are_loaded_and_the_model_stands_alone(tmp_path: Path) -> None:
    found = read(save_external(tmp_path, offset="0", length="48"))
    np.testing.assert_array_equal(run(bytes_of(found)), X @ weight(4, 3))
    changed = found.sha256
    (tmp_path / "w.bin").write_bytes(weight(4, 3, seed=1).tobytes())
    assert read(tmp_path / "model.onnx").sha256 != changed


def test_nodes_get_unique_names_that_do_not_depend_on_chance() -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Relu", ["a"], ["b"], name="r"),
        node("Relu", ["b"], ["c"], name="r"),
        node("Relu", ["c"], ["y"], name="Relu_0"),
    ]
    found = parsed(proto(nodes))
    assert [n.name for n in found.model.graph] == ["Relu_0_1", "r", "r_2", "Relu_0"]
    assert found.notes == ("2 nodes without a unique name were named",)


def test_nodes_out_of_order_are_sorted() -> None:
    found = parsed(
        proto([node("Abs", ["a"], ["y"], name="n2"), node("Relu", ["x"], ["a"], name="n1")])
    )
    assert [n.op_type for n in found.model.graph] == ["Relu", "Abs"]
    assert "nodes were put in order" in found.notes


def test_constants_become_initializers_of_the_main_graph_even_from_subgraphs() -> None:
    def branch(name: str, number: float) -> onnx.GraphProto:
        made = node("Constant", [], ["k"], value_float=number, name=f"k{name}")
        return helper.make_graph(
            [made, node("Add", ["x", "k"], [name], name=f"a{name}")],
            name,
            [],
            [value(name, [2, 4])],
        )

    both = {"then_branch": branch("t", 1.0), "else_branch": branch("e", 2.0)}
    found = parsed(
        proto(
            [node("If", ["c"], ["y"], name="if", **both)],
            inputs=[value("x", [2, 4]), value("c", [], onnx.TensorProto.BOOL)],
            outputs=[value("y", [2, 4])],
        )
    )
    held = found.model.graph.initializers.values()
    assert sorted(float(v.const_value.numpy()) for v in held if v.const_value) == [1.0, 2.0]
    assert all(n.op_type != "Constant" for n in found.model.graph.all_nodes())
    got = Session(bytes_of(found)).run({"x": X, "c": np.zeros((), bool)})["y"]
    np.testing.assert_array_equal(got, X + 2)


def test_sparse_initializers_are_kept_dense() -> None:
    dense = np.zeros((4, 3), np.float32)
    dense[0, 1], dense[3, 2] = 5, 7
    for indices in (np.array([1, 11]), np.array([[0, 1], [3, 2]])):
        model = linear_proto()
        del model.graph.initializer[:]
        values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
        where = numpy_helper.from_array(indices, "i")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, [4, 3]))
        found = parsed(model)
        assert found.notes == ("made the sparse initializer 'w' dense",)
        np.testing.assert_array_equal(run(bytes_of(found)), X @ dense)


def test_local_functions_are_inlined() -> None:
    body = [node("Relu", ["a"], ["t"]), node("Neg", ["t"], ["b"])]
    function = helper.make_function("mine", "f", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    model = proto([node("f", ["x"], ["y"], domain="mine", name="call")])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    found = parsed(model)
    assert not found.model.functions
    np.testing.assert_array_equal(run(bytes_of(found)), -np.maximum(X, 0))


def test_an_old_opset_is_raised_and_gives_the_same_numbers() -> None:
    nodes = [node("Unsqueeze", ["x"], ["u"], axes=[0]), node("Softmax", ["u"], ["y"], axis=1)]
    model = proto(nodes, opset=11)
    found = parsed(model)
    assert found.opset == 11
    assert found.model.graph.opset_imports[""] == 13
    assert "opset 11 raised to 13" in found.notes
    # one float32 rounding: the softmax over two axes is flattened first
    np.testing.assert_allclose(run(bytes_of(found)), run(model.SerializeToString()), rtol=1e-6)


def test_an_old_model_whose_weights_are_no_inputs_is_raised_too() -> None:
    model = proto([node("Mul", ["x", "w"], ["y"], name="m")], {"w": weight(2, 4)}, opset=7)
    model.ir_version = 3
    found = parsed(model)
    np.testing.assert_array_equal(run(bytes_of(found)), X * weight(2, 4))


def test_weights_among_the_inputs_are_no_inputs() -> None:
    model = linear_proto()
    model.ir_version = 3
    model.graph.input.append(value("w", [4, 3]))
    found = parsed(model)
    assert [v.name for v in found.model.graph.inputs] == ["x"]
    assert found.model.ir_version >= 8


def test_a_new_opset_is_kept_and_reported() -> None:
    found = parsed(proto([node("Relu", ["x"], ["y"], name="r")], opset=23))
    assert found.model.graph.opset_imports[""] == 23
    assert found.notes == ("opset 23 is newer than 21, which older runtimes stop at",)


def test_subnormal_weights_are_flushed_and_counted_but_not_in_float16() -> None:
    array = weight(4, 3)
    array[0, 0], array[1, 1] = 1e-40, -1e-41
    found = parsed(linear_proto(array))
    assert found.notes == ("2 subnormal weights became 0",)
    tensor = found.model.graph.initializers["w"].const_value
    assert tensor is not None
    assert np.count_nonzero(tensor.numpy()) == 10
    half = proto(
        [node("MatMul", ["x", "w"], ["y"], name="m")],
        {"w": np.full((4, 3), 1e-6, np.float16)},
        inputs=[value("x", [2, 4], onnx.TensorProto.FLOAT16)],
        outputs=[value("y", None, onnx.TensorProto.FLOAT16)],
    )
    assert parsed(half).notes == ()


def test_an_attention_mask_may_hold_infinity() -> None:
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    found = parsed(proto([node("Add", ["x", "m"], ["y"], name="a")], {"m": mask[:2]}))
    assert found.notes == ()


def test_metadata_and_doc_strings_are_gone() -> None:
    model = linear_proto()
    secret = "/home/somebody/secret.py"
    for item in (model, model.graph, model.graph.node[0], model.graph.initializer[0]):
        item.doc_string = secret
        item.metadata_props.add(key="stack_trace", value=secret)
    model.graph.input[0].metadata_props.add(key="k", value=secret)
    assert secret.encode() not in bytes_of(parsed(model))


def test_shapes_are_inferred_and_unknown_ones_are_reported() -> None:
    found = parsed(
        proto([node("Relu", ["x"], ["h"], name="r"), node("Abs", ["h"], ["y"], name="a")])
    )
    hidden = found.model.graph[0].outputs[0].shape
    assert hidden is not None
    assert hidden.numpy() == (2, 4)
    odd = proto(
        [node("Reshape", ["x", "s"], ["y"], name="r")],
        inputs=[value("x", None), value("s", None, 7)],
    )
    assert parsed(odd).notes == ("shapes of 1 tensors are unknown (y)",)


@pytest.mark.parametrize(
    "op", ["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QGemm"]
)
def test_nodes_of_an_earlier_quantization_are_named(op: str) -> None:
    nodes = [ir.Node("", name, [], name=name.lower()) for name in (op, "Conv", "Gelu", "Gemm")]
    graph = ir.Graph([], [], nodes=nodes, opset_imports={"": 21})
    assert quantized_nodes(ir.Model(graph, ir_version=10)) == (f"{op.lower()} ({op})",)
