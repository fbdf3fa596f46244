"""Outputs whose entries are picked by value: boxes behind TopK or NonMaxSuppression.

A difference of one rounding between two near scores swaps their rows. Entry by entry such an
output then differs wholly although the set of rows is nearly the same.
"""

import onnx_ir as ir

from edgepack.graph.bodies import bodies

_PICKS = frozenset({"TopK", "NonMaxSuppression", "NonZero", "Unique", "Compress"})


def picked_outputs(model: ir.Model) -> frozenset[str]:
    """Name the outputs of ``model`` that depend on what such a node picked."""
    return frozenset(str(value.name) for value in model.graph.outputs if _is_picked(value))


def _is_picked(output: ir.Value) -> bool:
    seen: set[ir.Value] = set()
    todo: list[ir.Value | None] = [output]
    while todo:
        value = todo.pop()
        if value is None or value in seen or (node := value.producer()) is None:
            continue
        if node.op_type in _PICKS:
            return True
        seen.add(value)
        todo.extend(node.inputs)
        todo.extend(end for body in bodies(node) for end in body.outputs)
    return False
