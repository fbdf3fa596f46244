"""How large a model may be; everything here is counted before anything is allocated."""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod

import onnx
from onnx import numpy_helper

from edgepack.base.errors import ModelError, SafetyError
from edgepack.base.units import size

FILE_BYTES = 2**31 - 1
"""Protobuf's own limit for one message; a model with external data must fit it once joined."""
TENSOR_BYTES = 2**31
"""The largest single tensor, weight or activation; no edge device has room for more."""
NODES = 100_000
"""Nodes after inlining; the largest models met in the field have a few thousand."""
DEPTH = 16
"""Graphs inside graphs; protobuf's own parser stops at about 33."""
TRIPS = 1_000_000
"""Times that a loop may be told to run; a recurrent layer written as one has some thousands."""
RANK = 64
"""Axes of one tensor, as in NumPy."""
_WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs that a node holds as attributes."""
    found = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Walk the main graph and every graph inside it or inside a function, parents first.

    Raises:
        SafetyError: Graphs are nested deeper than ``DEPTH``.
    """
    inner = (graph for function in model.functions for n in function.node for graph in subgraphs(n))
    todo = [(model.graph, 1), *((graph, 2) for graph in inner)]
    while todo:
        graph, depth = todo.pop()
        if depth > DEPTH:
            raise SafetyError("E-CAP", f"graphs are nested more than {DEPTH} deep")
        yield graph
        todo.extend((child, depth + 1) for node in graph.node for child in subgraphs(node))


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Walk every node of the model, those of subgraphs and functions included."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def check_counts(model: onnx.ModelProto) -> None:
    """Refuse more than ``NODES`` nodes, counted as they will be once functions are inlined.

    Functions that call functions can double at every level, so that a kilobyte asks for 2^30 nodes.

    Raises:
        SafetyError: Too many nodes.
        ModelError: A function calls itself.
    """
    bodies = {(f.domain, f.name): _flat(f.node) for f in model.functions}
    calls = {
        key: {(n.domain, n.op_type) for n in body} & bodies.keys() for key, body in bodies.items()
    }
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise ModelError(
            "E-MODEL-CORRUPT", f"function {error.args[1][0][1]!r} calls itself"
        ) from error
    cost: dict[tuple[str, str], int] = {}
    for key in order:
        cost[key] = _count(bodies[key], cost)
    total = _count([node for graph in graphs(model) for node in graph.node], cost)
    if total > NODES:
        raise SafetyError("E-CAP", f"the model has {total} nodes, the limit is {NODES}")


def _flat(body: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    found, todo = [], list(body)
    while todo:
        node = todo.pop()
        found.append(node)
        todo.extend(inner for graph in subgraphs(node) for inner in graph.node)
    return found


def _count(body: Iterable[onnx.NodeProto], cost: dict[tuple[str, str], int]) -> int:
    return sum(cost.get((node.domain, node.op_type), 1) for node in body)


def check_loops(model: onnx.ModelProto) -> None:
    """Refuse loops that constants alone make run more than ``TRIPS`` times, as good as for ever.

    A loop whose condition or count is computed may end early, and passes.

    Raises:
        SafetyError: Names the loop.
    """
    numbers: dict[str, int] = {}
    for graph in graphs(model):
        numbers |= {tensor.name: _number(tensor) for tensor in graph.initializer}
    for node in nodes(model):
        if node.op_type == "Constant" and node.attribute and node.output:
            held = node.attribute[0]
            numbers[node.output[0]] = _number(held.t) if held.HasField("t") else held.i
    _check_trips(model.graph, numbers, 1)


def _number(tensor: onnx.TensorProto) -> int:
    """Return the one integer or truth value that a tensor holds; 1 for any other tensor."""
    if tensor.data_type in _WHOLE and prod(tensor.dims) == 1:
        return int(numpy_helper.to_array(tensor).item())
    return 1


def _check_trips(graph: onnx.GraphProto, numbers: Mapping[str, int], times: int) -> None:
    """Multiply the trips of loops inside loops, which are at most ``DEPTH`` deep."""
    for node in graph.node:
        total = times
        if node.op_type == "Loop" and _unstoppable(node, numbers):
            total *= numbers.get(node.input[0], 1) if node.input[0] else TRIPS + 1
            if total > TRIPS:
                raise SafetyError(
                    "E-CAP",
                    f"loop {node.name or node.op_type!r} never ends: its condition is constant",
                    hint=f"give it a trip count of at most {TRIPS}",
                )
        for inner in subgraphs(node):
            _check_trips(inner, numbers, total)


def _unstoppable(loop: onnx.NodeProto, numbers: Mapping[str, int]) -> bool:
    """Whether the condition that the body returns is the one it was given, or constant and true."""
    bodies = subgraphs(loop)
    if not (loop.input and bodies and bodies[0].output and len(bodies[0].input) > 1):
        return False  # no loop at all; the runtime says so
    body = bodies[0]
    copied = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
    name = body.output[0].name
    while name in copied:
        name = copied[name]
    return name == body.input[1].name or bool(numbers.get(name, 0))


def check_size(name: str, dims: Iterable[int], bits: int) -> int:
    """Return the number of elements of a tensor that may exist.

    Raises:
        ModelError: A dimension is negative, or their product does not fit 62 bits.
        SafetyError: The tensor would take more than ``TENSOR_BYTES``.
    """
    shape = tuple(dims)
    if len(shape) > RANK or any(dim < 0 for dim in shape):
        raise ModelError(
            "E-MODEL-CORRUPT", f"tensor {name!r} has impossible dimensions {shape[:8]}"
        )
    if prod(max(dim, 1) for dim in shape) >= 2**62:
        raise ModelError(
            "E-MODEL-CORRUPT", f"tensor {name!r} has dimensions {shape[:8]} that overflow"
        )
    count = prod(shape)
    if count * bits > TENSOR_BYTES * 8:
        raise SafetyError(
            "E-CAP",
            f"tensor {name!r} of shape {list(shape)} would need {size(count * bits / 8)}, "
            f"the limit is {size(TENSOR_BYTES)}",
            hint="a model for the edge has no such tensor; check the shape that is asked for",
        )
    return count
