"""What the runtime made of a quantized graph: the pairs that it did not fuse, by name.

It fuses ``DequantizeLinear -> node -> QuantizeLinear`` into one integer kernel where all around the
node is as that kernel wants, and says nothing where it does not: so its optimized graph is read.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Options, Session

_PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Unfused:
    """A node that rounds or restores and was left standing.

    Attributes:
        op: ``QuantizeLinear`` or ``DequantizeLinear``.
        tensor: What it reads.
        between: Who makes that tensor, and who reads the result.
        end: Whether it stands at an input or output of the model, where one has to.
    """

    op: str
    tensor: str
    between: str
    end: bool


@dataclass(frozen=True, slots=True)
class Fusion:
    """Nodes that round or restore, in the file and after the runtime's optimizer."""

    before: int
    left: tuple[Unfused, ...]


def fusion(model: ir.Model) -> Fusion:
    """Open ``model`` on this machine and read its graph back.

    Raises:
        ModelError: The runtime refuses the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        # one level below "all": that one changes layouts, and fuses no further pair
        Session(to_bytes(model), Options(level="extended", save_optimized=path))
        graph = ir.load(path).graph
        left = tuple(_told(node) for node in graph if node.op_type in _PAIRS)
    return Fusion(sum(node.op_type in _PAIRS for node in model.graph), left)


def _told(node: ir.Node) -> Unfused:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    maker, users = source.producer(), result.consumers()
    made = "a constant" if source.is_initializer() else "an input"
    start = made if maker is None else f"{maker.op_type} {maker.name}"
    finish = ", ".join(f"{user.op_type} {user.name}" for user in users) or "an output"
    end = source.is_graph_input() or result.is_graph_output()
    return Unfused(node.op_type, str(source.name), f"{start} -> {finish}", end)
