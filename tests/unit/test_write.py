import numpy as np
import onnx
import onnx_ir as ir

from edgepack.graph.copying import private_copy
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from tests import convolutions, zoo
from tests.models import linear_proto

SECRET = "/home/somebody/project/model.py"


def marked() -> onnx.ModelProto:
    """Return a model with a path in every place where an exporter may put one."""
    model: onnx.ModelProto = onnx.ModelProto.FromString(to_bytes(zoo.conditional()))
    todo = [model.graph]
    model.producer_name, model.producer_version, model.domain = SECRET, SECRET, SECRET
    model.doc_string = SECRET
    model.metadata_props.add(key="source", value=SECRET)
    while todo:
        graph = todo.pop()
        graph.doc_string = SECRET
        graph.metadata_props.add(key="stack", value=SECRET)
        for tensor in graph.initializer:
            note = graph.quantization_annotation.add(tensor_name=tensor.name)
            note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=SECRET)
        for value in (*graph.input, *graph.output):
            value.doc_string = SECRET
            value.metadata_props.add(key="stack", value=SECRET)
        for tensor in graph.initializer:
            tensor.doc_string = SECRET
            tensor.metadata_props.add(key="stack", value=SECRET)
        for node in graph.node:
            node.doc_string = SECRET
            node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=SECRET)
            for attribute in node.attribute:
                attribute.doc_string = SECRET
                if attribute.HasField("g"):
                    todo.append(attribute.g)
    return model


def test_nothing_of_the_machine_that_made_a_model_is_written() -> None:
    model = marked()
    assert SECRET.encode() in model.SerializeToString()
    assert SECRET.encode() not in to_bytes(ir.from_proto(model))


def test_the_same_graph_gives_the_same_bytes_whatever_order_its_weights_came_in() -> None:
    model = onnx.ModelProto.FromString(to_bytes(convolutions.residual()))
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    del turned.graph.initializer[:]
    turned.graph.initializer.extend(reversed(model.graph.initializer))
    assert to_bytes(ir.from_proto(turned)) == to_bytes(ir.from_proto(model))


def test_writing_what_was_read_back_gives_the_same_bytes() -> None:
    data = to_bytes(zoo.conditional())
    assert to_bytes(parse(data, "again").model) == data


def test_the_ir_version_is_lowered_and_never_raised() -> None:
    model = ir.from_proto(linear_proto())
    model.ir_version = 11
    assert onnx.ModelProto.FromString(to_bytes(model, max_ir=10)).ir_version == 10
    assert onnx.ModelProto.FromString(to_bytes(model, max_ir=12)).ir_version == 11


def test_shapes_of_inner_tensors_are_dropped_and_the_interface_keeps_its_own() -> None:
    graph = onnx.ModelProto.FromString(to_bytes(convolutions.conv_end())).graph
    assert not graph.value_info
    assert [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim[1:]] == [5, 10, 10]


def test_a_private_copy_shares_no_weight() -> None:
    model = ir.from_proto(linear_proto(np.ones((4, 3), np.float32)))
    copy = private_copy(model)
    tensor = copy.graph.initializers["w"].const_value
    original = model.graph.initializers["w"].const_value
    assert tensor is not None
    assert original is not None
    assert not np.shares_memory(tensor.numpy(), original.numpy())
