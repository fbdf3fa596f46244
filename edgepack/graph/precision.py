"""Which node computes in which type, read off the nodes around it."""

from collections import defaultdict

import onnx_ir as ir

from edgepack.graph.constants import attribute
from edgepack.graph.kernels import CARRIERS, CLAMPS, INTEGER_OUTPUT, WEIGHTED

_NOT_COMPUTING = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Constant", "Identity"}
)

_HOLD_WEIGHTS = WEIGHTED | {"ConvTranspose", "LSTM", "GRU", "RNN"}
_INTEGER = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    }
)
"""Operators that multiply integers, whatever is around them."""
_ON_CODES = "QLinear"
"""How the names of operators begin that take codes and return codes."""
_BLOCKS = "MatMulNBits"
_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def precisions(model: ir.Model) -> dict[str, dict[str, int]]:
    """Count nodes per operator and precision, subgraphs included.

    A weight that is stored in fewer bits and unpacked at load counts as those bits; nodes that
    only turn integers into real numbers are part of what they serve.

    Returns:
        Such as ``{"Conv": {"int8": 48, "float32": 1}}``.
    """
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in model.graph.all_nodes():
        if node.op_type not in _NOT_COMPUTING and not restores(node):
            table[node.op_type][whole_precision(node)] += 1
    return {op: dict(sorted(counts.items())) for op, counts in sorted(table.items())}


def integer_nodes(model: ir.Model) -> tuple[str, ...]:
    """Return the names of the nodes that multiply by integer weights, in graph order."""
    wanted = _HOLD_WEIGHTS | _INTEGER | {_BLOCKS}
    return tuple(
        str(node.name)
        for node in model.graph
        if node.op_type in wanted and whole_precision(node) in {"int8", "int4"}
    )


def whole_precision(node: ir.Node) -> str:
    """Return the type that a node computes in: ``int8``, ``int4``, ``int16``, ``float32`` ..."""
    if node.op_type in _INTEGER or node.op_type.startswith(_ON_CODES):
        return "int8"
    if _fused(node) or _taken_in(node):
        return "int16" if _reads_words(node) else "int8"
    if stored := _stored_bits(node):
        return stored
    fed = [value for value in node.inputs if value is not None and value.const_value is None]
    types = {value.dtype for value in (*fed, *node.outputs) if value is not None}
    if ir.DataType.FLOAT16 in types:
        return "float16"
    if types & {ir.DataType.FLOAT, None}:
        return "float32"
    return next((str(kind).lower() for kind in types if kind is not None), "float32")


def restores(node: ir.Node) -> bool:
    """Whether a node only multiplies codes by their scale, or looks such scales up."""
    if node.op_type == "Gather":
        users = node.outputs[0].consumers()
        return bool(users) and all(user.op_type == "Mul" and restores(user) for user in users)
    return node.op_type == "Mul" and any(map(_carries_scale, node.inputs))


def _fused(node: ir.Node) -> bool:
    """Whether the runtime runs an integer kernel: codes in, and codes out where it must."""
    fed = [value for value in node.inputs if value is not None and value.const_value is None]
    makers = [value.producer() for value in fed]
    if not fed or any(m is None or m.op_type != "DequantizeLinear" for m in makers):
        return False
    if node.op_type in WEIGHTED - INTEGER_OUTPUT:
        users = node.outputs[0].consumers()  # a clamp that ends in float takes its Gemm along
        return len(users) != 1 or users[0].op_type not in CLAMPS or _ends_in_codes(users[0])
    return node.op_type in INTEGER_OUTPUT | CARRIERS and _ends_in_codes(node)


def _reads_words(node: ir.Node) -> bool:
    """Whether the codes of what an integer node reads have 16 bits."""
    source = node.inputs[0]
    maker = None if source is None else source.producer()
    if maker is not None and maker.op_type in WEIGHTED:  # of a clamp that it takes in
        return _reads_words(maker)
    zero = maker.inputs[2] if maker is not None and len(maker.inputs) > 2 else None
    return zero is not None and zero.dtype in {ir.DataType.INT16, ir.DataType.UINT16}


def _taken_in(node: ir.Node) -> bool:
    """Whether a clamp lies between an integer kernel and its codes, and so is part of it."""
    source = node.inputs[0] if node.op_type in CLAMPS else None
    maker = None if source is None else source.producer()
    return maker is not None and _fused(maker) and _ends_in_codes(node)


def _ends_in_codes(node: ir.Node) -> bool:
    """Whether the result is quantized, at once or after the one clamp that a kernel takes in."""
    users = [user for out in node.outputs for user in out.consumers()]
    if len(users) == 1 and users[0].op_type in CLAMPS and node.op_type not in CLAMPS:
        return _ends_in_codes(users[0])
    return any(user.op_type == "QuantizeLinear" for user in users)


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
    return "int8" if node.op_type in _HOLD_WEIGHTS and unpacked else ""


def _is_unpacking(node: ir.Node) -> bool:
    """Whether a Mul makes a weight out of constant codes."""
    maker = None if node.inputs[0] is None else node.inputs[0].producer()
    codes = None if maker is None or maker.op_type != "Cast" else maker.inputs[0]
    return codes is not None and codes.producer() is None and _holds_codes(codes)
