"""Keep a residual sum apart from the layer norm behind it, where the runtime would join them.

ONNX Runtime joins ``Add -> LayerNormalization`` into SkipLayerNormalization, whose CPU kernel is
slower than the two. It does not join a ``Sum`` of two tensors, which adds the same values in the
same order. ``python benchmarks/minilm_front.py`` makes the models to time.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import onnx_ir as ir

from edgepack.graph.constants import constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Skip, Step
from edgepack.spec.target import Target


class PartNorms(Step, frozen=True):
    """Write the Add in front of a layer norm as a Sum; outputs stay the same bit for bit."""

    keeps: ClassVar[Keeps] = "values"

    def fit(self, target: Target) -> Self | Skip:
        """Skip where the kernels are other ones."""
        if target.provider != "CPUExecutionProvider":
            return Skip("part_norms", f"{target.provider} gains from joining them")
        return self

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Replace each Add of two computed tensors that a layer norm reads."""
        for norm in [node for node in model.graph if node.op_type == "LayerNormalization"]:
            source = norm.inputs[0]
            add = None if source is None else source.producer()
            if add is None or add.op_type != "Add" or not _is_residual(add):
                continue
            sum_ = ir.node("Sum", add.inputs, name=add.name)
            out, old = sum_.outputs[0], add.outputs[0]
            out.type, out.shape = old.type, old.shape
            ir.convenience.replace_nodes_and_values(model.graph, add, [add], [sum_], [old], [out])
            yield Edit(str(sum_.name), f"stays apart from {norm.name}: their joint kernel is slow")


def _is_residual(add: ir.Node) -> bool:
    """Whether an Add has two computed float tensors of one shape."""
    first, second = add.inputs
    if first is None or second is None or first.shape is None or second.shape is None:
        return False
    if any(constant(value) is not None for value in (first, second)):
        return False
    return first.dtype == second.dtype == ir.DataType.FLOAT and first.shape == second.shape
