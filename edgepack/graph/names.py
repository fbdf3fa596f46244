"""Unique names, whatever a model calls its tensors."""

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass


def name_apart(model: ir.Model) -> None:
    """Make names unique; an optional output that was left out stays without one."""
    values = [out for node in model.graph.all_nodes() for out in node.outputs]
    absent = [value for value in values if not (value.name or value.uses())]
    NameFixPass()(model)
    for value in absent:
        value.name = ""
