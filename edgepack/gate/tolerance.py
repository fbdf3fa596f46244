"""How far the self-test may be from its golden outputs.

Integer products are the same everywhere; requantization after them was seen to differ by one code
between instruction sets. So an output may be off by what one code of the last quantized tensor
can do to it, and by twice what was seen between exact mode here and the emulated CPUs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.constants import constant

_FLOAT_STEP = 1e-4
"""Of the largest output: float kernels of two instruction sets add in another order; 1e-6 is usual,
a hundredfold leaves room for deep nets and is far below what a wrong kernel does."""


_TINY = 1.2e-7
"""Stands for an output that is zero everywhere."""


def tolerances(
    model: ir.Model, golden: Mapping[str, npt.NDArray[Any]], spread: Mapping[str, float]
) -> dict[str, float]:
    """Return the absolute tolerance of each output.

    Args:
        model: The shipped model.
        golden: Expected outputs, samples along axis 0.
        spread: Largest difference seen per output between exact mode and the target's CPUs.
    """
    result = {}
    for value in model.graph.outputs:
        name = str(value.name)
        array = golden[name]
        if array.dtype.kind != "f":
            result[name] = 0.0
            continue
        largest = float(np.abs(array).max(initial=0.0))
        floor = max(one_code(value), _FLOAT_STEP * max(largest, _TINY))
        result[name] = float(np.float32(max(floor, 2 * spread.get(name, 0.0))))
    return result


def one_code(value: ir.Value | None) -> float:
    """Return what one code of the nearest quantized tensors upstream changes, 0 without any."""
    seen: set[ir.Value] = set()
    todo = [value]
    largest = 0.0
    while todo:
        current = todo.pop()
        if current is None or current in seen or (node := current.producer()) is None:
            continue
        seen.add(current)
        if node.op_type == "DequantizeLinear":
            largest = max(largest, _step(node))
        elif (product := _product_step(node)) is not None:
            largest = max(largest, product)
        else:
            todo.extend(node.inputs)
    return largest


def _step(restore: ir.Node) -> float:
    """Return the scale of an activation's DequantizeLinear, 0 for a weight's."""
    scale = constant(restore.inputs[1])
    if scale is None or constant(restore.inputs[0]) is not None:
        return 0.0
    return float(np.abs(scale).max())


def _product_step(node: ir.Node) -> float | None:
    """Return what one code of the input of a Gemm or MatMul does to its largest output."""
    if node.op_type not in {"Gemm", "MatMul"}:
        return None
    sides = [None if value is None else value.producer() for value in node.inputs[:2]]
    if any(side is None or side.op_type != "DequantizeLinear" for side in sides):
        return None
    left, right = sides
    assert left is not None
    assert right is not None
    codes, scale = constant(right.inputs[0]), constant(right.inputs[1])
    if codes is None or scale is None:
        return None
    zero = constant(right.inputs[2])
    middle = 0 if zero is None else int(np.ravel(zero)[0])
    return _step(left) * float(np.abs(codes.astype(np.int64) - middle).max() * scale.max())
