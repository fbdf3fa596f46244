"""Finding nodes by the names that people give in recipes."""

from collections.abc import Iterable

import onnx_ir as ir

from edgepack.base.errors import RequestError, nearest


def check_nodes(graph: ir.Graph, names: Iterable[str]) -> None:
    """Refuse a name that no node of ``graph`` bears.

    Raises:
        RequestError: With the closest name that there is.
    """
    known = {node.name or "" for node in graph}
    for name in names:
        if name not in known:
            raise RequestError("E-NODE", f"no node named {name!r}", hint=nearest(name, known))


def label(node: ir.Node) -> str:
    """Return how reports call a node: its name."""
    return str(node.name)
