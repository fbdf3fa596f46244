"""ONNX operators in torch, so that a graph can be trained as it stands.

Each takes its attributes and its inputs, None where an optional one is left out, and returns its
only output. Semantics are those of the ONNX operator reference at opset 13 to 21; a graph trained
through these is compared with the runtime first, see ``training.twin``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor]
"""``(attributes, *inputs) -> output``."""


def _conv(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    call: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    x, padding = _padded(at, x, axes, 0.0)
    spread = (list(at.get("strides", [1] * axes)), padding, list(at.get("dilations", [1] * axes)))
    result: Tensor = call(x, weight, bias, *spread, int(at.get("group", 1)))
    return result


def _padded(at: Attributes, x: Tensor, axes: int, value: float) -> tuple[Tensor, list[int]]:
    """Pad where the two sides differ; else return what the operator may pad itself."""
    if at.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise NotImplementedError("auto_pad")
    pads = list(at.get("pads", [0] * 2 * axes))
    before, after = pads[:axes], pads[axes:]
    if before == after:
        return x, before
    sides = [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair]
    return functional.pad(x, sides, value=value), [0] * axes


def _gemm(at: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.mT if at.get("transA") else a
    b = b.mT if at.get("transB") else b
    product = float(at.get("alpha", 1.0)) * (a @ b)
    return product if c is None else product + float(at.get("beta", 1.0)) * c


def _clip(
    _at: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _max_pool(at: Attributes, x: Tensor) -> Tensor:
    kernel = list(at["kernel_shape"])
    axes = len(kernel)
    call: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]
    x, padding = _padded(at, x, axes, -torch.inf)
    strides, dilations = (list(at.get(name, [1] * axes)) for name in ("strides", "dilations"))
    result: Tensor = call(x, kernel, strides, padding, dilations, bool(at.get("ceil_mode", 0)))
    return result


def _average_pool(at: Attributes, x: Tensor) -> Tensor:
    kernel = list(at["kernel_shape"])
    axes = len(kernel)
    call: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
    counts = bool(at.get("count_include_pad", 0))
    pads = list(at.get("pads", [0] * 2 * axes))
    if pads[:axes] != pads[axes:] and not counts:
        raise NotImplementedError("uneven pads that are not counted")
    x, padding = _padded(at, x, axes, 0.0)
    strides = list(at.get("strides", [1] * axes))
    result: Tensor = call(x, kernel, strides, padding, bool(at.get("ceil_mode", 0)), counts)
    return result


def _reduced(call: Callable[..., Tensor]) -> Operator:
    def operator(at: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = list(at.get("axes", [])) if axes is None else axes.tolist()
        if not over and at.get("noop_with_empty_axes", 0):
            return x
        return call(x, over or list(range(x.ndim)), keepdim=bool(at.get("keepdims", 1)))

    return operator


def _reshape(at: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    if not at.get("allowzero", 0):
        sizes = [x.shape[index] if size == 0 else size for index, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(at: Attributes, x: Tensor) -> Tensor:
    axis = int(at.get("axis", 1))
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _squeeze(_at: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _unsqueeze(_at: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.reshape(-1).tolist()):
        x = x.unsqueeze(axis)
    return x


def _gather(at: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = int(at.get("axis", 0)) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    taken = x.index_select(axis, index.reshape(-1))
    return taken.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _slice(
    _at: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    count = starts.numel()
    over = list(range(count)) if axes is None else axes.tolist()
    by = [1] * count if steps is None else steps.tolist()
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(over, starts.tolist(), ends.tolist(), by, strict=True):
        cut[axis] = slice(start, end, step)
    return x[tuple(cut)]


def _pad(
    at: Attributes,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    if at.get("mode", "constant") != "constant":
        raise NotImplementedError(f"Pad in mode {at['mode']}")
    over = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes.tolist()]
    half, sides = len(over), [[0, 0] for _ in range(x.ndim)]
    for index, axis in enumerate(over):
        sides[axis] = [int(pads[index]), int(pads[half + index])]
    flat = [side for pair in sides[::-1] for side in pair]
    return functional.pad(x, flat, value=0.0 if value is None else float(value))


def _cast(at: Attributes, x: Tensor) -> Tensor:
    return x.to(torch.from_numpy(np.zeros(0, ir.DataType(at["to"]).numpy())).dtype)


def _batch_norm(at: Attributes, x: Tensor, *constants: Tensor) -> Tensor:
    scale, shift, mean, var = constants
    return functional.batch_norm(x, mean, var, scale, shift, eps=float(at.get("epsilon", 1e-5)))


def _layer_norm(at: Attributes, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    axis = int(at.get("axis", -1)) % x.ndim
    return functional.layer_norm(
        x, list(x.shape[axis:]), scale, shift, float(at.get("epsilon", 1e-5))
    )


def _depth_to_space(at: Attributes, x: Tensor) -> Tensor:
    if at.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, int(at["blocksize"]))
    n, c, h, w = x.shape
    b = int(at["blocksize"])
    return (
        x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * b, w * b)
    )


def _plain(call: Callable[..., Any]) -> Operator:
    """Return an operator without attributes."""
    return lambda _at, *inputs: call(*inputs)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


OPERATORS: Mapping[str, Operator] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda at, *inputs: torch.cat(inputs, int(at["axis"])),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": _plain(_divide),
    "Dropout": lambda _at, x, *_: x,
    "Elu": lambda at, x: functional.elu(x, float(at.get("alpha", 1.0))),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda at, x: functional.gelu(x, approximate=at.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _at, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": lambda at, x: torch.clamp(
        float(at.get("alpha", 0.2)) * x + float(at.get("beta", 0.5)), 0, 1
    ),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda at, x: functional.leaky_relu(x, float(at.get("alpha", 0.01))),
    "LogSoftmax": lambda at, x: torch.log_softmax(x, int(at.get("axis", -1))),
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Max": _plain(torch.maximum),
    "Min": _plain(torch.minimum),
    "Neg": _plain(torch.neg),
    "Pad": _pad,
    "Pow": _plain(torch.pow),
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Shape": lambda at, x: torch.tensor(
        x.shape[at.get("start", 0) : at.get("end")], dtype=torch.int64
    ),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda at, x: torch.softmax(x, int(at.get("axis", -1))),
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": lambda at, x: x.permute(*at.get("perm", range(x.ndim)[::-1])),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
"""By name, of the default domain."""
