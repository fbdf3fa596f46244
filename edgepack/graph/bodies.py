"""Graphs inside a graph: the bodies of If, Loop and Scan. No step quantizes what is in them."""

import onnx_ir as ir

from edgepack.graph.kernels import WEIGHTED

_NAMED = 3
"""Nodes that a sentence names; a reader finds the others beside them."""


def bodies(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs that a node holds as attributes."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def why_not_inside(node: ir.Node) -> str:
    """Say that what a node holds stays in float, naming what else would be integer, or nothing."""
    held = bodies(node)
    if not held:
        return ""
    names = [
        str(inner.name or inner.op_type)
        for body in held
        for inner in body.all_nodes()
        if inner.op_type in WEIGHTED
    ]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = f": {', '.join(names[:_NAMED])}{more}" if names else ""
    return f"nodes of its subgraphs stay in float{listed}"
