"""Which node computes in which type, read off the Q/DQ pairs around it."""

from collections import defaultdict

import onnx_ir as ir

from edgepack.graph.kernels import CARRIERS, CLAMPS, INTEGER_OUTPUT, WEIGHTED

_NOT_COMPUTING = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Constant", "Identity"})


def precisions(model: ir.Model) -> dict[str, dict[str, int]]:
    """Count nodes per operator and precision, subgraphs included.

    Returns:
        Such as ``{"Conv": {"int8": 48, "float32": 1}}``.
    """
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in model.graph.all_nodes():
        if node.op_type not in _NOT_COMPUTING:
            table[node.op_type][whole_precision(node)] += 1
    return {op: dict(sorted(counts.items())) for op, counts in sorted(table.items())}


def integer_nodes(model: ir.Model) -> tuple[str, ...]:
    """Return the names of the nodes that multiply integers by constant weights, in graph order."""
    return tuple(
        str(node.name)
        for node in model.graph
        if node.op_type in WEIGHTED and whole_precision(node) == "int8"
    )


def whole_precision(node: ir.Node) -> str:
    """Return the type that a node computes in: ``int8``, ``float16``, ``float32``, ``int64`` ..."""
    if _fused(node) or _taken_in(node):
        return "int8"
    fed = [value for value in node.inputs if value is not None and value.const_value is None]
    types = {value.dtype for value in (*fed, *node.outputs) if value is not None}
    if ir.DataType.FLOAT16 in types:
        return "float16"
    if types & {ir.DataType.FLOAT, None}:
        return "float32"
    return next((str(kind).lower() for kind in types if kind is not None), "float32")


def _fused(node: ir.Node) -> bool:
    """Whether the runtime runs an integer kernel: codes in, and codes out where it must."""
    fed = [value for value in node.inputs if value is not None and value.const_value is None]
    makers = [value.producer() for value in fed]
    if not fed or any(m is None or m.op_type != "DequantizeLinear" for m in makers):
        return False
    if node.op_type in WEIGHTED - INTEGER_OUTPUT:
        return True
    return node.op_type in INTEGER_OUTPUT | CARRIERS and _ends_in_codes(node)


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
