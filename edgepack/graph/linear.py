"""A product with a constant matrix and the constant vector added to it: one layer in two nodes."""

import onnx_ir as ir

from edgepack.graph.constants import constant

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
"""Types that Gemm and pools have kernels for; a product, a sum and a mean have more."""


def product_and_bias(add: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """Return the MatMul and the vector that ``add`` adds to it, one number per column.

    The product has no other reader; its input may have any number of axes.
    """
    for source, bias in (add.inputs, reversed(add.inputs)):
        vector = constant(bias)
        node = None if source is None or vector is None else source.producer()
        if node is None or source is None or bias is None or node.op_type != "MatMul":
            continue
        weight = constant(node.inputs[1])
        alone = len(source.uses()) == 1 and not source.is_graph_output()
        if weight is None or weight.ndim != 2 or not alone or source.dtype not in FLOATS:
            continue
        columns = weight.shape[1]
        if vector is not None and vector.size == columns and vector.shape[-1] == columns:
            return node, bias
    return None
