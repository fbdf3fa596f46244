"""Compute in float16 what the kernels of the target compute in float16, and keep the interface.

Nodes around integers keep their float32 scales (a bias scale of 1e-6 is subnormal in float16); what
stays in float becomes float16, with casts only where the two meet.

Source: IEEE 754-2019, binary16: largest 65504, smallest normal 6.1e-5.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgepack.base.errors import RequestError, nearest
from edgepack.graph.constants import add_constant, constant
from edgepack.graph.precision import restores
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target

_LARGEST = float(np.finfo(np.float16).max)

_KEEP = frozenset(
    {"Cast", "CastLike", "Constant", "ConstantOfShape", "Range", "Resize", "Upsample", "If", "Loop"}
    | {
        "Scan",
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "NonMaxSuppression",
        "RandomNormal",
    }
    | {"RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "EyeLike"}
)
"""Type fixed by an attribute, by a float32 operand, or by a subgraph."""


class Float16(Step, frozen=True):
    """Convert float32 nodes and weights to float16; inputs and outputs keep their types.

    Attributes:
        exclude: Names of nodes to leave in float32.
    """

    exclude: tuple[str, ...] = ()
    keeps: ClassVar[Keeps] = "interface"

    def fit(self, target: Target) -> Self | Skip:
        """Skip where kernels would cast each tensor to float32 and back."""
        if not target.float16:
            return Skip("float16", f"{target.name} has no float16 kernels: each node would cast")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Convert each node that may be converted, then cast where types meet."""
        names = {node.name or "" for node in model.graph}
        for name in self.exclude:
            if name not in names:
                raise RequestError("E-NODE", f"no node named {name!r}", hint=nearest(name, names))
        ShapeInferencePass()(model)
        chosen: set[ir.Node] = set()
        for node in model.graph:
            reason = "excluded by the recipe" if node.name in self.exclude else _why_not(node)
            if ctx.spared.get(str(node.name)) == "float32":
                reason = "spared by the gate"
            if not reason:
                chosen.add(node)
            elif node.op_type not in _KEEP and not restores(node) and _is_float(node.outputs[0]):
                yield Edit(str(node.name), reason, left=True)
        _Converter(model.graph, chosen).convert()
        if chosen:
            yield Edit("graph", f"{len(chosen)} nodes compute in float16")


def _why_not(node: ir.Node) -> str:
    """Return the reason to leave ``node`` in float32, or an empty string."""
    if node.op_type in _KEEP or node.domain not in {"", "ai.onnx"} or restores(node):
        return f"{node.op_type} keeps its type"
    if any(out.dtype is None for out in node.outputs if out.name):
        return "the type of its result is unknown"
    if not any(_is_float(value) for value in (*node.inputs, *node.outputs)):
        return "it does not compute in float"
    makers = (value.producer() for value in node.inputs if value is not None)
    if any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return "it computes on integers"
    if any(user.op_type == "QuantizeLinear" for out in node.outputs for user in out.consumers()):
        return "its result is quantized"
    if any(_overflows(value) for value in node.inputs):
        return f"a constant exceeds {_LARGEST:.0f}"
    return ""


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT


def _overflows(value: ir.Value | None) -> bool:
    array = constant(value)
    return (
        array is not None
        and array.dtype == np.float32
        and array.size > 0
        and bool(np.abs(array[np.isfinite(array)]).max(initial=0) > _LARGEST)
    )


class _Converter:
    """Changes the type of chosen nodes of one graph."""

    def __init__(self, graph: ir.Graph, chosen: set[ir.Node]) -> None:
        self._graph = graph
        self._chosen = chosen
        self._halves: dict[ir.Value, ir.Value] = {}
        self._singles: dict[ir.Value, ir.Value] = {}
        self._made: set[ir.Value] = {
            out for node in chosen for out in node.outputs if _is_float(out)
        }

    def convert(self) -> None:
        """Change operands, then graph outputs, then the types of what the chosen nodes make."""
        for node in list(self._graph.all_nodes()):  # a subgraph reads tensors around it
            wanted = self._half if node in self._chosen else self._single
            for index, value in enumerate(node.inputs):
                if value is not None and _is_float(value):
                    node.replace_input_with(index, wanted(value))
        for index, output in enumerate(list(self._graph.outputs)):
            if output in self._made:
                self._graph.outputs[index] = self._renamed(output)
        for value in self._made:
            value.type = ir.TensorType(ir.DataType.FLOAT16)

    def _half(self, value: ir.Value) -> ir.Value:
        """Return ``value`` in float16."""
        if value in self._made:
            return value
        if value not in self._halves:
            array = constant(value)
            self._halves[value] = (
                self._cast(value, ir.DataType.FLOAT16, f"{value.name}.half")
                if array is None
                else add_constant(self._graph, f"{value.name}.half", array.astype(np.float16))
            )
        return self._halves[value]

    def _single(self, value: ir.Value) -> ir.Value:
        """Return ``value`` in float32."""
        if value not in self._made:
            return value
        if value not in self._singles:
            self._singles[value] = self._cast(value, ir.DataType.FLOAT, f"{value.name}.single")
        return self._singles[value]

    def _renamed(self, output: ir.Value) -> ir.Value:
        """End the graph in a float32 tensor under the old name."""
        single, name = self._single(output), output.name
        output.name, single.name = f"{name}.half", name
        return single

    def _cast(self, value: ir.Value, to: ir.DataType, name: str) -> ir.Value:
        cast = ir.node("Cast", [value], {"to": int(to)}, name=name)
        out = cast.outputs[0]
        out.name, out.type, out.shape = name, ir.TensorType(to), value.shape
        maker = value.producer()
        if maker is None:
            self._graph.insert_before(self._graph[0], [cast])
        else:
            self._graph.insert_after(maker, [cast])
        return out
