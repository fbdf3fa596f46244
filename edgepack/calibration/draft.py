"""A graph that nodes and outputs are added to."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import Array, add_constant

_NEW_AXES = 18
"""The opset from which ReduceMin and ReduceMax take their axes as an input."""


class Draft:
    """Appends to the main graph of one model; equal constants are stored once."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self._opset = model.graph.opset_imports.get("", _NEW_AXES)

    def add(
        self, op: str, *inputs: ir.Value, attributes: Mapping[str, object] | None = None
    ) -> ir.Value:
        """Append a node and return its only output."""
        node = ir.node(op, inputs, attributes)  # type: ignore[arg-type]  # ints and lists of ints
        self.graph.append(node)
        return node.outputs[0]

    def reduce(self, op: str, value: ir.Value, axes: list[int] | None) -> ir.Value:
        """Reduce over ``axes``, None for all of them, and drop these."""
        attributes: dict[str, object] = {"keepdims": 0}
        if axes is None:
            return self.add(op, value, attributes=attributes)
        if self._opset >= _NEW_AXES:
            return self.add(op, value, self.integers(*axes), attributes=attributes)
        return self.add(op, value, attributes=attributes | {"axes": axes})

    def integers(self, *numbers: int) -> ir.Value:
        """Return a constant of shape ``(len(numbers),)``."""
        return self.constant("integers." + ".".join(map(str, numbers)), np.array(numbers, np.int64))

    def constant(self, name: str, array: Array) -> ir.Value:
        """Return a constant; one ``name`` always means the same ``array``."""
        name = f"edgepack.{name}"
        return self.graph.initializers.get(name) or add_constant(self.graph, name, array)

    def end(self, value: ir.Value, name: str, shape: Sequence[int | None]) -> None:
        """Make ``value``, the output of a node added here, an output called ``name``."""
        value.name = name
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        self.graph.outputs.append(value)
