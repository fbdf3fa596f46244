"""One shape for every model: what readers, passes and runtimes stumble over is put straight here.

Each function edits the protobuf in place and tells what it did in sentences.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import numpy_helper

from edgepack.base.errors import ModelError
from edgepack.graph.convert import OLDEST_OPSET
from edgepack.graph.limits import check_size, graphs, nodes
from edgepack.graph.wellformed import CONTROL, check_tensor, opset

_MICROSOFT = "com.microsoft"


def strip(model: onnx.ModelProto) -> None:
    """Drop metadata and doc strings: exporters hide source paths and source lines there."""
    for name in ("producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(name)
    _bare(model)


def _bare(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                _bare(child)


def fix_domains(model: onnx.ModelProto) -> Iterator[str]:
    """Spell the default domain one way and import what is used.

    Raises:
        ModelError: No version is given for a domain that is used.
    """
    version, runtime = opset(model), False
    for node in nodes(model):
        if node.domain == "ai.onnx":
            node.domain = ""
        runtime = runtime or node.domain == _MICROSOFT
    if not version and any(node.domain == "" for node in nodes(model)):
        raise ModelError(
            "E-OPSET",
            "the model does not say which opset it uses",
            hint="set opset_import, as onnx.helper.make_model does",
        )
    others = {e.domain: e.version for e in model.opset_import if e.domain not in ("", "ai.onnx")}
    if runtime and _MICROSOFT not in others:
        others[_MICROSOFT] = 1
        yield f"imported {_MICROSOFT}, which the model uses and does not name"
    del model.opset_import[:]
    for domain, number in {"": version or OLDEST_OPSET, **others}.items():
        model.opset_import.append(onnx.helper.make_opsetid(domain, number))


def drop_names(model: onnx.ModelProto) -> Iterator[str]:
    """Take names with control characters away from nodes; tensors' names were checked."""
    dropped = 0
    for node in nodes(model):
        if CONTROL.search(node.name):
            node.ClearField("name")
            dropped += 1
    if dropped:
        yield f"dropped the names of {dropped} nodes: they had control characters"


def densify(model: onnx.ModelProto) -> Iterator[str]:
    """Replace sparse initializers by dense ones; onnx_ir drops them without a word.

    Raises:
        ModelError: Indices are outside the tensor.
        SafetyError: The dense tensor is too large.
    """
    for graph in graphs(model):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse))
            yield f"made the sparse initializer {sparse.values.name!r} dense"
        del graph.sparse_initializer[:]
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") and node.op_type == "Constant":
                attribute.t.CopyFrom(_dense(attribute.sparse_tensor))
                attribute.ClearField("sparse_tensor")
                attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
                yield f"made the sparse constant {node.output[0]!r} dense"


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    bits = (
        8
        * check_tensor(sparse.values)
        // max(sparse.values.dims[0] if sparse.values.dims else 1, 1)
    )
    count = check_size(sparse.values.name, sparse.dims, bits)
    check_tensor(sparse.indices)
    values, where = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    limits = np.array([count] if where.ndim < 2 else shape)
    place = where.reshape(len(values), -1)
    if place.shape[1:] != limits.shape or (place < 0).any() or (place >= limits).any():
        raise ModelError(
            "E-MODEL-CORRUPT", f"sparse tensor {sparse.values.name!r} has indices outside {shape}"
        )
    flat = place[:, 0] if where.ndim < 2 else np.ravel_multi_index(tuple(place.T), shape)
    dense = np.zeros(count, values.dtype)
    dense[flat] = values
    return numpy_helper.from_array(dense.reshape(shape), sparse.values.name)
