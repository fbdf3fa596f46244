"""Does an ONNX file keep its weights inside?

A tensor may name a file, or (in some versions of ONNX Runtime) an address in memory, as the
place of its data. A bundle has none of that. The runtime's own checks differ from version to
version, and the device has no onnx package, so the few fields that lead to tensors are walked here.

Source: onnx.proto3 of ONNX 1.23; CVE-2022-25882 and CVE-2024-27318 for what happens otherwise.
"""

from collections.abc import Iterator

WAYS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
"""Message -> field number -> message, for every field on the way from a model to a tensor."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of TensorProto that say where its data is, if not inside."""

_KEY = b"location"
"""The key that every tensor with its data elsewhere must have."""

_RAW_DATA = 9
"""Field of TensorProto with the data itself."""

_LARGE_MODEL, _LARGE_WEIGHT = 1 << 23, 1 << 16
"""Bytes from which it costs less to find where weights are than to search through them."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external(model: bytes) -> bool:
    """Whether any tensor of the model keeps its data elsewhere.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    if _KEY not in _without_weights(model):  # a fast way out
        return False
    todo = [("ModelProto", memoryview(model))]
    while todo:
        kind, message = todo.pop()
        for number, value, _ in _fields(message):
            if kind == "TensorProto":
                if number == EXTERNAL_DATA or (number == DATA_LOCATION and value):
                    return True
            elif isinstance(value, memoryview) and number in WAYS[kind]:
                todo.append((WAYS[kind][number], value))
    return False


def _without_weights(model: bytes) -> bytes:
    """Return a model without the data of its large initializers, which is most of it."""
    if len(model) < _LARGE_MODEL:
        return model
    parts, at = [], 0
    try:
        for start, end in _weights(memoryview(model)):
            parts.append(model[at:start])
            at = end
    except ValueError:  # where it is broken, nothing is left out
        return model
    return b"".join((*parts, model[at:]))


def _weights(model: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where the data of each large initializer of the main graph starts and ends."""
    for number, graph, base in _fields(model):
        if number != 7 or not isinstance(graph, memoryview):
            continue
        for kind, tensor, at in _fields(graph):
            if kind != 5 or not isinstance(tensor, memoryview) or len(tensor) < _LARGE_WEIGHT:
                continue
            for field, value, start in _fields(tensor):
                if field == _RAW_DATA and isinstance(value, memoryview):
                    yield base + at + start, base + at + start + len(value)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """Yield number, value and place of each field; raises ValueError on a broken wire format."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        if tag & 7 == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value, at
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(tag & 7)
        if tag & 7 == _BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > end:
            raise ValueError(f"broken protobuf at byte {at} of a message of {end} bytes")
        yield tag >> 3, message[at : at + size], at
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 0x80:  # nearly all
        return message[at], at + 1
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError(f"broken protobuf number at byte {at}")
