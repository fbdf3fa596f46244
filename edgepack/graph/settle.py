"""The last steps of reading, on onnx_ir: constants, names, order, shapes and weights."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from edgepack.base.errors import ModelError
from edgepack.graph.constants import constant
from edgepack.graph.limits import check_size

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_FLUSHED = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
"""Subnormals of float16 are ordinary weights (below 6e-5) and no slower than others."""
_WEIGHTED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Div", "PRelu", "LSTM", "GRU", "RNN"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization"),
)
"""Operators whose constants are weights; elsewhere an infinity may be a mask or a bound."""
_SHAPED = ("ConstantOfShape", "Expand")
"""Operators whose last input is the shape of the result; inference misses them in subgraphs."""


def settle(model: ir.Model) -> Iterator[str]:
    """Edit ``model`` in place until passes can rely on it, telling what was changed.

    Afterwards every constant is an initializer of the main graph and no input, every node has a
    unique name and follows its producers, shapes are inferred where ONNX can, and no weight is
    NaN, infinite or subnormal.

    Raises:
        ModelError: A weight is NaN or infinite.
        SafetyError: An inferred tensor is larger than any may be.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    if common.RemoveInitializersFromInputsPass()(model).modified:
        yield "weights listed among the inputs are no longer inputs"
    before = [node.name for node in model.graph]
    model.graph.sort()
    if before != [node.name for node in model.graph]:
        yield "nodes were put in order"
    if renamed := _name_nodes(model):
        yield f"{renamed} nodes without a unique name were named"
    yield from _infer(model)
    yield from _check_weights(model)


def _name_nodes(model: ir.Model) -> int:
    """Name nodes ``Conv_7`` where they have no name, and number the later ones of equal names."""
    taken = {node.name for node in model.graph.all_nodes() if node.name}
    seen: set[str] = set()
    changed = 0
    for index, node in enumerate(model.graph.all_nodes()):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        base = f"{node.name or node.op_type}_{index}"
        name, suffix = base, 0
        while name in taken:
            suffix += 1
            name = f"{base}_{suffix}"
        node.name = name
        taken.add(name)
        seen.add(name)
        changed += 1
    return changed


def _infer(model: ir.Model) -> Iterator[str]:
    """Infer shapes; failing is not fatal, a tensor too large to exist is."""
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for node in model.graph.all_nodes():
        if node.op_type in _SHAPED and node.domain == "":
            asked = constant(node.inputs[-1])
            if asked is not None and asked.dtype == np.int64:
                check_size(node.name or "?", asked.reshape(-1).tolist(), 8)
    values = [value for node in model.graph.all_nodes() for value in node.outputs if value.name]
    for value in values:
        if value.shape is not None and value.shape.is_static():
            bits = 8 if value.dtype in (None, ir.DataType.STRING) else value.dtype.bitwidth
            check_size(value.name or "?", value.shape.numpy(), bits)
    unknown = [value.name or "?" for value in values if value.shape is None]
    if unknown:
        listed = ", ".join(unknown[:3])
        yield f"shapes of {len(unknown)} tensors are unknown ({listed})"


def _check_weights(model: ir.Model) -> Iterator[str]:
    """Refuse broken weights, and flush subnormal ones, which slow some CPUs five to thirty times.

    Source: onnxruntime#7448; a float32 below 1.2e-38 changes no sum it takes part in.
    """
    flushed = 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype not in _FLOATS:
            continue
        array = tensor.numpy()
        _check_finite(value, array)
        if tensor.dtype in _FLUSHED:
            tiny = (array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)
            if count := int(np.count_nonzero(tiny)):
                value.const_value = ir.tensor(
                    np.where(tiny, array.dtype.type(0), array), name=value.name
                )
                flushed += count
    if flushed:
        yield f"{flushed} subnormal weights became 0"


def _check_finite(value: ir.Value, array: npt.NDArray[np.generic]) -> None:
    real = array.astype(np.float64) if array.dtype.itemsize < 4 else array
    broken = ~np.isfinite(real)
    if not broken.any():
        return
    if any(user.op_type in _WEIGHTED for user, _ in value.uses()):
        kind = "infinite or NaN"
    else:
        broken, kind = np.isnan(real), "NaN"
    if count := int(np.count_nonzero(broken)):
        index = [int(i) for i in np.argwhere(broken)[0]]
        raise ModelError(
            "E-NAN-WEIGHT",
            f"weight {value.name!r} has {count} {kind} of {array.size} values, first at {index}",
            hint="the training checkpoint is bad; go back to an earlier one",
        )
