"""How far the self-test may be from its golden outputs.

Integer products are the same everywhere; requantization after them was seen to differ by one code
between instruction sets. So an output may be off by what one code of the last quantized tensors
does to it, measured by sending such errors through what follows them, and by twice what was seen
between exact mode here and the target's CPUs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base.affine import dequantize
from edgepack.base.distance import largest_difference
from edgepack.graph.bodies import bodies
from edgepack.graph.constants import attribute, constant
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample

_FLOAT_STEP = 1e-4
"""Of the largest output: float kernels of two instruction sets add in another order; 1e-6 is usual,
a hundredfold leaves room for deep nets and is far below what a wrong kernel does."""

_FLOAT16_STEP = 2.0**-9
"""The same of an output in float16, whose codes lie up to 2^-10 of it apart: a sum that ends
elsewhere by 1e-6 may round to the next of them, and what is made of it to the one after."""

_TINY = 1.2e-7
"""Stands for an output that is zero everywhere."""


def one_code(model: ir.Model, samples: Sequence[Sample], seed: int = 0) -> dict[str, float]:
    """Return what one code of the last quantized tensors changes in each output.

    Each such tensor is moved by one code, up or down at random, on the golden samples, and the
    rest of the graph, all float, is run on both.

    Args:
        model: The shipped model.
        samples: Golden inputs, complete with state.
        seed: Of the signs.
    """
    steps = _frontier(model)
    if not steps:
        return {str(value.name): 0.0 for value in model.graph.outputs}
    head, tail = _parts(model, list(steps))
    rng = np.random.default_rng(seed)
    far = {str(value.name): 0.0 for value in model.graph.outputs}
    for sample in samples:
        fed = {spec.name: sample[spec.name] for spec in head.inputs}  # it may need fewer inputs
        held: dict[str, npt.NDArray[Any]] = {**sample, **head.run(fed)}
        plain = {spec.name: held[spec.name] for spec in tail.inputs}
        moved = {name: _moved(array, steps.get(name), rng) for name, array in plain.items()}
        want, got = tail.run(plain), tail.run(moved)
        for name, largest in far.items():
            far[name] = max(largest, _finite(largest_difference(want[name], got[name])))
    return far


def _moved(
    array: npt.NDArray[Any], step: float | None, rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Move every element of a quantized tensor by one code; leave other tensors alone."""
    if step is None:
        return array
    signs = rng.choice(np.array([-1, 1], array.dtype), array.shape)
    return np.asarray(array + array.dtype.type(step) * signs)


def tolerances(
    golden: Mapping[str, npt.NDArray[Any]],
    code: Mapping[str, float],
    spread: Mapping[str, float],
) -> dict[str, float]:
    """Return the absolute tolerance of each output.

    Args:
        golden: Expected outputs, samples along axis 0.
        code: What one code changes in each output, see ``one_code``.
        spread: Largest difference seen per output between exact mode and the target's CPUs.
    """
    result = {}
    for name, array in golden.items():
        if array.dtype.kind != "f":
            result[name] = 0.0
            continue
        finite = np.abs(array[np.isfinite(array)].astype(np.float64))
        largest = float(finite.max(initial=0.0))
        step = _FLOAT16_STEP if array.dtype == np.float16 else _FLOAT_STEP
        floor = max(code.get(name, 0.0), step * max(largest, _TINY))
        result[name] = float(np.float32(max(floor, 2 * spread.get(name, 0.0))))
    return result


def _frontier(model: ir.Model) -> dict[str, float]:
    """Return the last quantized tensors before the outputs and the step of one of their codes.

    Such a tensor is the result of a DequantizeLinear, or of a product of integers that ends in
    float; its step is then what one code of the input does to the largest of its results.
    """
    found: dict[str, float] = {}
    seen: set[ir.Value] = set()
    todo: list[ir.Value | None] = list(model.graph.outputs)
    while todo:
        value = todo.pop()
        if value is None or value in seen or (node := value.producer()) is None:
            continue
        seen.add(value)
        step = _step(node) if node.op_type == "DequantizeLinear" else _product_step(node)
        if step is None:
            todo.extend(node.inputs)
            todo.extend(value for body in bodies(node) for value in body.outputs)
        elif step > 0:
            found[str(value.name)] = step
    return found


def _step(restore: ir.Node) -> float:
    """Return the scale of an activation's DequantizeLinear, 0 for a weight's."""
    scale = constant(restore.inputs[1])
    if scale is None or constant(restore.inputs[0]) is not None:
        return 0.0
    return float(np.abs(scale).max())


def _product_step(node: ir.Node) -> float | None:
    """Return what one code of the input of a Gemm or MatMul does to its largest result."""
    if node.op_type not in {"Gemm", "MatMul"}:
        return None
    sides = [None if value is None else value.producer() for value in node.inputs[:2]]
    if any(side is None or side.op_type != "DequantizeLinear" for side in sides):
        return None
    left, right = sides
    assert left is not None
    assert right is not None
    codes, scale, zero = map(constant, right.inputs)
    if codes is None or scale is None or zero is None:
        return None
    axis = attribute(right, "axis", 1) if scale.ndim else None
    return _step(left) * float(np.abs(dequantize(codes, scale, zero, axis=axis)).max())


def _parts(model: ir.Model, names: list[str]) -> tuple[Session, Session]:
    """Cut the model at the named tensors: what gives them, and what follows them."""
    fed = [str(value.name) for value in model.graph.inputs]
    outputs = [str(value.name) for value in model.graph.outputs]
    return _between(model, fed, names), _between(model, [*names, *fed], outputs)


def _between(model: ir.Model, inputs: list[str], outputs: list[str]) -> Session:
    """Open the part of the model that leads from some tensors to others."""
    draft = private_copy(model)
    graph = draft.graph
    values = {str(v.name): v for node in graph for v in node.outputs}
    values |= {str(v.name): v for v in (*graph.inputs, *graph.initializers.values())}
    for name in (*inputs, *outputs):  # a file need not say what lies between its nodes
        values[name].type = values[name].type or ir.TensorType(ir.DataType.FLOAT)
    ends = [values[name] for name in outputs]
    part = ir.convenience.extract(graph, [values[name] for name in inputs], ends)
    used = [v for v in part.inputs if v.uses() or v.is_graph_output()]
    part.inputs[:] = used
    cut = ir.Model(part, ir_version=draft.ir_version)
    return Session(to_bytes(cut), where="a part of the shipped model")


def _finite(far: float) -> float:
    """An output that stops being a number under the error says nothing of its size."""
    return far if np.isfinite(far) else 0.0
