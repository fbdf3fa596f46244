"""Embedding tables in int8, one scale per row: a quarter of the bytes, two more look-ups.

A table is read, never multiplied, so its codes need not obey the pair law.
"""

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import Array, add_constant, attribute, constant

_FEWEST_COLUMNS = 16
"""Below it a row's scale of four bytes eats most of what its codes save."""


def is_table(node: ir.Node) -> bool:
    """Whether a node looks rows up in a constant matrix."""
    array = constant(node.inputs[0]) if node.op_type == "Gather" else None
    return array is not None and array.ndim == 2 and attribute(node, "axis", 0) == 0


def why_not_table(node: ir.Node, min_size: int) -> str:
    """Return the reason to leave the table of ``node`` in float, or an empty string."""
    source = node.inputs[0]
    table = constant(source)
    assert table is not None, "asked only of tables"
    assert source is not None
    if table.dtype != np.float32:
        return f"its table is {table.dtype}"
    if table.size < min_size or table.shape[1] < _FEWEST_COLUMNS:
        return f"its table of {table.shape[0]} x {table.shape[1]} is too small to gain"
    other = next((user for user, _ in source.uses() if not is_table(user)), None)
    return f"its table is also read by {other.name}" if other is not None else ""


def quantize_rows(table: Array) -> tuple[Array, Array]:
    """Round each row to codes of +-127.

    Args:
        table: Shape ``(rows, columns)``, float32.

    Returns:
        int8 codes of the same shape, and float32 scales of shape ``(rows, 1)``.
    """
    exact = table.astype(np.float64)
    scale = np.abs(exact).max(axis=1, keepdims=True) / 127
    stored = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    codes = np.clip(np.rint(exact / stored), -127, 127).astype(np.int8)
    return codes, stored


class Tables:
    """Edits the look-ups of one graph; several in one table share its codes."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def write(self, node: ir.Node) -> str:
        """Let ``node`` read codes, and multiply them by the scales of the same rows."""
        source = node.inputs[0]
        table = constant(source)
        assert source is not None
        assert table is not None
        if source not in self._made:
            codes, scales = quantize_rows(table)
            name = f"{source.name}.rows"
            self._made[source] = (
                add_constant(self._graph, name, codes),
                add_constant(self._graph, f"{name}.scale", scales),
            )
        codes_of, scales_of = self._made[source]
        name, rows = str(node.name), node.inputs[1]
        codes_read = ir.node("Gather", [codes_of, rows], name=name)
        real = ir.node("Cast", codes_read.outputs, {"to": int(ir.DataType.FLOAT)})
        scale_read = ir.node("Gather", [scales_of, rows], name=f"{name}.scale")
        result = ir.node("Mul", [real.outputs[0], scale_read.outputs[0]], name=f"{name}.restore")
        real.name = f"{name}.cast"
        ir.convenience.replace_nodes_and_values(
            self._graph,
            node,
            [node],
            [codes_read, real, scale_read, result],
            node.outputs,
            result.outputs,
        )
        return f"{table.size} entries of its table to int8, one scale per row"
