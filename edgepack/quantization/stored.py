"""Weights stored in int8 and unpacked when the model is loaded: a quarter of the file, float speed.

``Cast -> Mul`` of constants is folded by every runtime from 1.20 on, before it packs weights for
its float kernels. A DequantizeLinear is not folded: it would run each time.
"""

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import Array, add_constant, attribute, constant
from edgepack.quantization.placement import output_axis

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
OPERATORS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"}) | _RECURRENT
"""Their second operand is a weight; recurrent ones have another, third."""


def weights_of(node: ir.Node) -> list[ir.Value]:
    """Return the constant weights of a node, biases left out; none for other operators."""
    if node.op_type not in OPERATORS or node.domain not in {"", "ai.onnx"}:
        return []
    last = 3 if node.op_type in _RECURRENT else 2
    return [value for value in node.inputs[1:last] if value and constant(value) is not None]


def why_not_stored(node: ir.Node, min_size: int) -> str:
    """Return the reason to leave the weights of ``node`` in float, or an empty string."""
    arrays = [array for value in weights_of(node) if (array := constant(value)) is not None]
    if any(array.dtype != np.float32 for array in arrays):
        return "its weights are not float32"
    if (size := sum(array.size for array in arrays)) < min_size:
        return f"its {size} weights are too few to gain"
    readers = [user for value in weights_of(node) for user, _ in value.uses()]
    other = next((user for user in readers if not _would_share(user, node)), None)
    return f"its weight is also read by {other.name}" if other is not None else ""


def _would_share(user: ir.Node, node: ir.Node) -> bool:
    """Whether another reader of a weight reads it as the same channels."""
    mine = weights_of(node)
    return any(value in mine for value in weights_of(user)) and output_axes(user) == output_axes(
        node
    )


def output_axes(node: ir.Node) -> tuple[int, ...]:
    """Return the axes of a weight along which each position has a scale of its own."""
    if node.op_type in _RECURRENT:
        return (0, 1)  # direction, gate and unit
    if node.op_type == "MatMul":
        return (-1,)
    return (1,) if node.op_type == "ConvTranspose" else (output_axis(node),)


def round_channels(weight: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Round a weight to codes of +-127.

    Args:
        weight: float32, any shape.
        axes: The axes of output channels.

    Returns:
        int8 codes of the shape of ``weight``, and float32 scales that broadcast against them.
    """
    exact = weight.astype(np.float64)
    kept = {axis % weight.ndim for axis in axes}
    rest = tuple(axis for axis in range(weight.ndim) if axis not in kept)
    scale = np.abs(exact).max(axis=rest, keepdims=True) / 127
    stored = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(exact / stored), -127, 127).astype(np.int8), stored


class Store:
    """Edits the weights of one graph; readers of one weight share its codes."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[ir.Value, ir.Value] = {}

    def write(self, node: ir.Node) -> str:
        """Let ``node`` read weights that are unpacked when the model is loaded."""
        sources, size = weights_of(node), 0
        for index, source in enumerate(node.inputs):
            weight = constant(source) if source in sources else None
            if source is None or weight is None:
                continue
            if source not in self._made:
                self._made[source] = self._unpack(node, source, weight)
            node.replace_input_with(index, self._made[source])
            size += weight.size
        return f"{size} weights to int8, unpacked when the model is loaded"

    def _unpack(self, node: ir.Node, source: ir.Value, weight: Array) -> ir.Value:
        codes, scale = round_channels(weight, output_axes(node))
        name = f"{source.name}.int8"
        read = add_constant(self._graph, name, codes)
        cast = ir.node("Cast", [read], {"to": int(ir.DataType.FLOAT)}, name=f"{name}.cast")
        step = add_constant(self._graph, f"{name}.scale", scale)
        made = ir.node("Mul", [cast.outputs[0], step], name=f"{name}.unpack")
        self._graph.insert_before(node, [cast, made])
        result = made.outputs[0]
        result.name, result.shape, result.type = f"{name}.weight", source.shape, source.type
        return result


def is_matrix_product(node: ir.Node) -> bool:
    """Whether a node is a plain ``x @ w`` with a constant matrix, perhaps plus a bias."""
    weight = constant(node.inputs[1]) if node.op_type in {"MatMul", "Gemm"} else None
    factors = (node.attributes.get(name) for name in ("alpha", "beta"))
    scaled = attribute(node, "transA", 0) != 0 or any(f and f.as_float() != 1.0 for f in factors)
    return weight is not None and weight.ndim == 2 and not scaled
