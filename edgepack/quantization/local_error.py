"""What rounding does to one product, on a few rows of what it is given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base.affine import dequantize, quantize
from edgepack.graph.chains import is_own_layer, rows_first
from edgepack.graph.constants import constant
from edgepack.quantization.placement import why_not_weighted
from edgepack.quantization.scales import activation_scale, quantize_weight
from edgepack.quantization.scheme import Scheme

Real = npt.NDArray[np.float32]


def matrix(node: ir.Node) -> Real | None:
    """Return the weight ``[K, N]`` of a product that could compute on integers, or None."""
    if node.op_type not in {"MatMul", "Gemm"} or not is_own_layer(node) or why_not_weighted(node):
        return None
    weight = constant(node.inputs[1])
    return None if weight is None else (weight.T if rows_first(node) else weight)


def local_error(runs: Sequence[Real], weight: Real, scheme: Scheme) -> float:
    """Return the squared error that rounding input and weight adds to the products.

    Args:
        runs: Inputs ``[n, K]``; the range of each run is its own, as at run time.
        weight: Shape ``[K, N]``.
        scheme: The integer types, and whether the pair law binds.
    """
    packed = quantize_weight(weight, 1, scheme, np.zeros(weight.shape[1]))
    codes = packed.codes.astype(np.float32) - scheme.weight_zero()
    rounded = codes * packed.scale
    error = 0.0
    for x in runs:
        scale = activation_scale((float(x.min()), float(x.max())), scheme)
        near = dequantize(quantize(x, scale.scale, scale.zero_point), scale.scale, scale.zero_point)
        error += float(np.square(near @ rounded - x @ weight, dtype=np.float64).sum())
    return error
