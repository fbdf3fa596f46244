"""Linear layers on stacks of matrices as Gemm, over all rows at once: one integer kernel each.

The runtime makes such a product and the vector added to it a Gemm of its own, where the shape is
fixed, after the pairs around them were placed: its bias is then a float, which no integer kernel
takes, and the weight is stored in int8, restored on each run and multiplied in float. Where the
first axis is open it keeps a product and an Add in float. A Gemm with an int32 bias fuses.
"""

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import add_constant, constant
from edgepack.graph.kernels import CLAMPS
from edgepack.graph.linear import product_and_bias
from edgepack.graph.names import name_apart
from edgepack.quantization.placement import why_not_weighted


def flatten(model: ir.Model, apart: Collection[str] = ()) -> list[tuple[str, str]]:
    """Rewrite each product of more than two axes and its bias as Reshape, Gemm, Reshape.

    Values stay as they are. The Gemm has the name of the product; a clamp that alone follows moves
    in front of the second Reshape, and Reshapes that undo each other are left out.

    Args:
        model: Edited in place.
        apart: Names of nodes to leave as they are.

    Returns:
        The name of each Add that went, and where it went.
    """
    graph, flat = model.graph, dict[ir.Value, ir.Value]()
    ends, gone = [], []
    for add in [node for node in graph if node.op_type == "Add"]:
        found = product_and_bias(add)
        if found is None or add.name in apart or found[0].name in apart:
            continue
        product, bias = found
        if _is_stack(add.outputs[0]) and not why_not_weighted(product):
            gemm = _gemm(graph, product, bias, flat)
            end = _end(graph, add, gemm)
            graph.remove(product, safe=True)
            _let_clamp_through(graph, end)
            assert end.inputs[0] is not None
            flat[end.outputs[0]] = end.inputs[0]
            ends.append(end)
            gone.append((str(add.name), f"added inside {gemm.name}, as its bias"))
    for end in ends:
        if not (end.outputs[0].uses() or end.outputs[0].is_graph_output()):
            graph.remove(end, safe=True)
    name_apart(model)  # tensors are measured by name
    return gone


def _is_stack(value: ir.Value) -> bool:
    """Whether a tensor has more than two axes and Reshape can name them: at most one is open."""
    if value.shape is None or len(value.shape) < 3:
        return False
    return sum(not isinstance(dim, int) for dim in value.shape) <= 1


def _gemm(
    graph: ir.Graph, product: ir.Node, bias: ir.Value, flat: dict[ir.Value, ir.Value]
) -> ir.Node:
    """Write a layer over rows before its product; layers that read one tensor share its rows."""
    source, weight, vector = product.inputs[0], constant(product.inputs[1]), constant(bias)
    assert source is not None
    assert weight is not None
    assert vector is not None
    if source not in flat:
        start = _reshape(graph, source, [-1, len(weight)], f"{source.name}.rows")
        graph.insert_before(product, [start])
        flat[source] = start.outputs[0]
    if vector.ndim > 1:
        bias = add_constant(graph, f"{bias.name}.vector", vector.reshape(-1))
    gemm = ir.node("Gemm", [flat[source], product.inputs[1], bias], name=product.name)
    _describe(gemm.outputs[0], f"{product.outputs[0].name}.rows", [None, weight.shape[1]])
    graph.insert_before(product, [gemm])
    return gemm


def _end(graph: ir.Graph, add: ir.Node, gemm: ir.Node) -> ir.Node:
    """Put a Reshape to the shape that ``add`` gave in its place."""
    old = add.outputs[0]
    assert old.shape is not None
    dims = [dim if isinstance(dim, int) else -1 for dim in old.shape]
    end = _reshape(graph, gemm.outputs[0], dims, f"{old.name}.stack")
    graph.insert_before(add, [end])
    _take_over(old, end.outputs[0])
    graph.remove(add, safe=True)
    return end


def _let_clamp_through(graph: ir.Graph, end: ir.Node) -> None:
    """Let a clamp that alone reads a Reshape stand before it, next to the layer it belongs to."""
    readers = end.outputs[0].uses()
    clamp = next((user for user, _ in readers if user.op_type in CLAMPS), None)
    if clamp is None or len(readers) > 1 or end.outputs[0].is_graph_output():
        return
    if clamp.graph is not graph or end.inputs[0] is None:
        return
    clamp.replace_input_with(0, end.inputs[0])
    graph.remove(end)
    graph.insert_after(clamp, [end])
    _take_over(clamp.outputs[0], end.outputs[0])
    _describe(clamp.outputs[0], f"{end.outputs[0].name}.rows", end.inputs[0].shape)
    end.replace_input_with(0, clamp.outputs[0])


def _reshape(graph: ir.Graph, source: ir.Value, dims: list[int], name: str) -> ir.Node:
    shape = add_constant(graph, f"{name}.shape", np.array(dims, np.int64))
    node = ir.node("Reshape", [source, shape], name=f"{name}.reshape")
    _describe(node.outputs[0], name, [None if dim < 0 else dim for dim in dims])
    return node


def _describe(value: ir.Value, name: str, shape: Sequence[int | None] | ir.Shape | None) -> None:
    value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
    value.shape = None if shape is None else ir.Shape(shape)


def _take_over(old: ir.Value, new: ir.Value) -> None:
    """Let ``new`` be read for ``old``, under its name and with its shape."""
    name, old.name = old.name, f"{old.name}.replaced"
    new.shape = old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name = name
