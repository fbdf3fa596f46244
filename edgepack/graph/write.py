"""Models to bytes: canonical, self-contained, without anything about the machine that made them."""

import onnx_ir as ir
from google.protobuf.message import Message

_TALK = frozenset({"doc_string", "metadata_props", "value_info"})


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
    """Clear, at any depth, what only speaks of the source: metadata, doc strings, inner shapes."""
    for field, value in message.ListFields():
        if field.name in _TALK:
            message.ClearField(field.name)
        elif field.message_type is not None and field.name != "raw_data":
            for inner in value if field.is_repeated else (value,):
                _strip(inner)
