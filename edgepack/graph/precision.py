"""Which node computes in which type, read off the Q/DQ pairs around it."""

from collections import defaultdict

import onnx_ir as ir

_NOT_COMPUTING = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Constant", "Identity"})

_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_CLAMPS = frozenset({"Relu", "Clip"})
_FLOAT_ENDS = frozenset({"Gemm", "MatMul"})
"""Integer kernels that may end in a float result."""


def precisions(model: ir.Model) -> dict[str, dict[str, int]]:
    """Count nodes per operator and precision: ``{"Conv": {"int8": 48, "float32": 1}}``."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in model.graph:
        if node.op_type not in _NOT_COMPUTING:
            table[node.op_type][_precision(node)] += 1
    return {op: dict(sorted(counts.items())) for op, counts in sorted(table.items())}


def _is_quantized(node: ir.Node) -> bool:
    """Whether the result ends in integers, at once or after the clamp that a kernel takes in."""
    users = [user for out in node.outputs for user in out.consumers()]
    if len(users) == 1 and users[0].op_type in _CLAMPS and node.op_type not in _CLAMPS:
        return _is_quantized(users[0])
    return any(user.op_type == "QuantizeLinear" for user in users)


def _precision(node: ir.Node) -> str:
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
    """Return the names of the nodes that multiply integers by constant weights, in graph order."""
    return tuple(
        str(node.name)
        for node in model.graph
        if node.op_type in _WEIGHTED and _precision(node) == "int8"
    )
