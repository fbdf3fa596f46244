"""One node of a candidate as a model of its own, to be timed.

Codes come in and go out as they do between integer nodes, so that what is timed is the kernel that
the runtime fuses, and not the rounding that its neighbours share.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.copying import private_copy
from edgepack.graph.kernels import CLAMPS
from edgepack.graph.precision import restores
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample

Arrays = Mapping[str, npt.NDArray[np.generic]]

_BEFORE = frozenset({"DequantizeLinear", "DynamicQuantizeLinear"})
_AFTER = CLAMPS | {"QuantizeLinear", "Cast"}


def alone(model: ir.Model, names: Sequence[str], sample: Sample) -> dict[str, tuple[bytes, Sample]]:
    """Return a model of each named node, with what stands at its inputs on ``sample``.

    Args:
        model: A candidate; left as it is.
        names: Nodes; those that it lacks are passed over.
        sample: A full sample, state included.
    """
    draft = private_copy(model)
    nodes = {str(node.name): node for node in draft.graph}
    parts = {name: _part(nodes[name]) for name in names if name in nodes}
    fed = {name: _fed(part) for name, part in parts.items()}
    made = {str(v.name): v for values in fed.values() for v in values if v.producer() is not None}
    seen = _seen(draft, made, sample)
    return {
        name: (
            _model(draft, parts[name], values, seen),
            {str(v.name): seen[str(v.name)] for v in values},
        )
        for name, values in fed.items()
    }


def _part(node: ir.Node) -> list[ir.Node]:
    """Return a node with what restores its operands and what rounds its result, in order."""
    found = [node]
    while (user := _only_reader(found[-1])) and (user.op_type in _AFTER or restores(user)):
        found.append(user)
    for each in found:  # grows while it is read
        makers = (value.producer() for value in each.inputs if value is not None)
        found += [m for m in makers if m is not None and m not in found and _serves(m)]
    graph = node.graph
    assert graph is not None
    return [each for each in graph if each in found]


def _only_reader(node: ir.Node) -> ir.Node | None:
    users = node.outputs[0].consumers()
    return users[0] if len(users) == 1 and not node.outputs[0].is_graph_output() else None


def _serves(maker: ir.Node) -> bool:
    """Whether a node only restores codes, rounds at run time, or multiplies such scales."""
    if maker.op_type in _BEFORE:
        return True
    sources = [None if value is None else value.producer() for value in maker.inputs]
    return maker.op_type == "Mul" and any(
        each is not None and each.op_type == "DynamicQuantizeLinear" for each in sources
    )


def _fed(part: Sequence[ir.Node]) -> list[ir.Value]:
    """Return the tensors that come in from outside, each once."""
    read = [v for node in part for v in node.inputs if v is not None and v.const_value is None]
    return list(dict.fromkeys(value for value in read if value.producer() not in part))


def _seen(draft: ir.Model, made: Mapping[str, ir.Value], sample: Sample) -> Arrays:
    """Run the draft once and return what its named tensors and its inputs hold."""
    outputs = draft.graph.outputs
    count = len(outputs)
    for value in made.values():
        if not value.is_graph_output():
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            outputs.append(value)
    found = {**sample, **Session(to_bytes(draft)).run(sample)}
    del outputs[count:]
    return found


def _model(
    draft: ir.Model, part: Sequence[ir.Node], fed: Sequence[ir.Value], seen: Arrays
) -> bytes:
    """Copy a part into a model whose inputs have the shapes that were seen."""
    copies: dict[ir.Value | None, ir.Value | None] = {None: None}
    inputs, constants, nodes = [_input(value, seen) for value in fed], [], []
    copies.update(zip(fed, inputs, strict=True))
    for node in part:
        for read in node.inputs:
            if read is not None and read not in copies:
                constants.append(held := _constant(read))
                copies[read] = held
        operands, attributes = [copies[read] for read in node.inputs], dict(node.attributes)
        outs = [ir.Value(name=out.name, type=out.type) for out in node.outputs]
        made = ir.Node(node.domain, node.op_type, operands, attributes.values(), outputs=outs)
        copies.update(zip(node.outputs, outs, strict=True))
        nodes.append(made)
    ends = [each for each in nodes[-1].outputs if each.name]
    for end in ends:
        end.type = end.type or ir.TensorType(ir.DataType.FLOAT)
    opsets = dict(draft.graph.opset_imports)
    graph = ir.Graph(inputs, ends, nodes=nodes, initializers=constants, opset_imports=opsets)
    return to_bytes(ir.Model(graph, ir_version=draft.ir_version))


def _input(value: ir.Value, seen: Arrays) -> ir.Value:
    array = seen[str(value.name)]
    kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    return ir.Value(name=value.name, type=kind, shape=ir.Shape(array.shape))


def _constant(value: ir.Value) -> ir.Value:
    shape, held = value.shape, value.const_value
    return ir.Value(name=value.name, type=value.type, shape=shape, const_value=held)
