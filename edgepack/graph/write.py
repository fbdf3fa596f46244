"""Models to bytes: canonical, self-contained, without anything about the machine that made them."""

import onnx_ir as ir
from google.protobuf.message import Message

_KEPT = {
    "ModelProto": "ir_version opset_import graph functions",
    "GraphProto": "node name initializer sparse_initializer input output",
    "NodeProto": "input output name op_type domain overload attribute",
    "ValueInfoProto": "name type",
    "TensorProto": "dims data_type name raw_data float_data int32_data string_data int64_data "
    "double_data uint64_data",
    "AttributeProto": "name ref_attr_name type f i s t g sparse_tensor tp floats ints strings "
    "tensors graphs sparse_tensors type_protos",
    "FunctionProto": "name input output attribute attribute_proto node opset_import domain "
    "overload",
}
"""What a runtime computes with, of each message that may say more; whatever else ONNX has or will
have is not written."""


def to_bytes(model: ir.Model, max_ir: int | None = None) -> bytes:
    """Serialize ``model``; the same graph gives the same bytes.

    Metadata, doc strings and the shapes of inner tensors are dropped: exporters hide source
    paths and source lines there (pytorch's ``pkg.torch.onnx.stack_trace``), and every runtime
    infers shapes itself.

    Args:
        model: Left as it is.
        max_ir: The newest IR version that the reader accepts.
    """
    proto = ir.to_proto(model)
    _strip(proto)
    proto.producer_name, proto.producer_version = "edgepack", ""
    proto.domain, proto.model_version = "", 0
    proto.graph.name = "graph"
    proto.graph.initializer.sort(key=lambda tensor: tensor.name)  # shape inference reorders them
    if max_ir is not None:
        proto.ir_version = min(proto.ir_version, max_ir)
    return bytes(proto.SerializeToString(deterministic=True))


def _strip(message: Message) -> None:
    """Clear, at any depth, what no runtime needs: metadata, doc strings, inner shapes."""
    kept = _KEPT.get(message.DESCRIPTOR.name)
    for field, value in message.ListFields():
        if kept is not None and field.name not in kept.split():
            message.ClearField(field.name)
        elif field.message_type is not None and field.name != "raw_data":
            for inner in value if field.is_repeated else (value,):
                _strip(inner)
