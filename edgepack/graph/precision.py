"""Which node computes in which type, read off the nodes around it."""

from collections import defaultdict

import onnx_ir as ir

from edgepack.graph.constants import attribute

_NOT_COMPUTING = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Constant", "Identity"}
)

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
_INTEGER = frozenset({"MatMulInteger", "DynamicQuantizeLSTM"})
"""Operators that multiply integers, whatever is around them."""
_BLOCKS = "MatMulNBits"
_CLAMPS = frozenset({"Relu", "Clip"})
_FLOAT_ENDS = frozenset({"Gemm", "MatMul"})
"""Integer kernels that may end in a float result."""
_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def precisions(model: ir.Model) -> dict[str, dict[str, int]]:
    """Count nodes per operator and precision: ``{"Conv": {"int8": 48, "float32": 1}}``.

    What is left of a weight that is stored in fewer bits and unpacked at load counts as those bits;
    nodes that only turn integers into real numbers are part of what they serve.
    """
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in model.graph:
        if node.op_type not in _NOT_COMPUTING and not restores(node):
            table[node.op_type][precision_of(node)] += 1
    return {op: dict(sorted(counts.items())) for op, counts in sorted(table.items())}


def restores(node: ir.Node) -> bool:
    """Whether a node only multiplies codes by their scale, or looks such scales up."""
    if node.op_type == "Gather":
        users = node.outputs[0].consumers()
        return bool(users) and all(user.op_type == "Mul" and restores(user) for user in users)
    return node.op_type == "Mul" and any(map(_carries_scale, node.inputs))


def _carries_scale(value: ir.Value | None) -> bool:
    """Whether ``value`` is a scale found at run time, or codes cast to float."""
    maker = None if value is None else value.producer()
    if maker is None or maker.op_type == "DynamicQuantizeLinear":
        return maker is not None
    return maker.op_type == "Cast" and _holds_codes(maker.inputs[0])


def _holds_codes(value: ir.Value | None) -> bool:
    if value is None:
        return False
    maker = value.producer()
    if maker is None:
        return value.const_value is not None and value.const_value.dtype in _BYTES
    return maker.op_type in _INTEGER or (
        maker.op_type == "Gather" and _holds_codes(maker.inputs[0])
    )


def _is_quantized(node: ir.Node) -> bool:
    """Whether the result ends in integers, at once or after the clamp that a kernel takes in."""
    users = [user for out in node.outputs for user in out.consumers()]
    if len(users) == 1 and users[0].op_type in _CLAMPS and node.op_type not in _CLAMPS:
        return _is_quantized(users[0])
    return any(user.op_type == "QuantizeLinear" for user in users)


def _stored_bits(node: ir.Node) -> str:
    """Return the type of a weight in fewer bits, of a table or of an operand; empty for others."""
    if node.op_type == _BLOCKS:
        return f"int{attribute(node, 'bits', 4)}"
    if node.op_type == "Gather":
        return "int8" if _holds_codes(node.inputs[0]) else ""
    makers = [value.producer() for value in node.inputs[1:] if value is not None]
    unpacked = any(
        maker is not None and maker.op_type == "Mul" and _is_unpacking(maker) for maker in makers
    )
    return "int8" if node.op_type in _WEIGHTED and unpacked else ""


def _is_unpacking(node: ir.Node) -> bool:
    """Whether a Mul makes a weight out of constant codes."""
    maker = None if node.inputs[0] is None else node.inputs[0].producer()
    codes = None if maker is None or maker.op_type != "Cast" else maker.inputs[0]
    return codes is not None and codes.producer() is None and _holds_codes(codes)


def precision_of(node: ir.Node) -> str:
    """Return ``int8``, ``int4``, ``float16``, ``float32``, or the type that it handles."""
    if node.op_type in _INTEGER:
        return "int8"
    if stored := _stored_bits(node):
        return stored
    fed = [value for value in node.inputs if value is not None and value.const_value is None]
    makers = [value.producer() for value in fed]
    restored = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
    if fed and restored and (node.op_type in _FLOAT_ENDS or _is_quantized(node)):
        return "int8"
    types = {value.dtype for value in (*fed, *node.outputs) if value is not None}
    if ir.DataType.FLOAT16 in types:
        return "float16"
    if types & {ir.DataType.FLOAT, None}:
        return "float32"
    return next((str(t).lower() for t in types if t is not None), "float32")


def integer_nodes(model: ir.Model) -> tuple[str, ...]:
    """Return the names of the nodes that multiply by integer weights, in graph order."""
    wanted = _WEIGHTED | _INTEGER | {_BLOCKS}
    return tuple(
        str(node.name)
        for node in model.graph
        if node.op_type in wanted and precision_of(node) in {"int8", "int4"}
    )
