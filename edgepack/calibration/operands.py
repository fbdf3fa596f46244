"""The rows that a weight is multiplied with: of a matrix as they are, of a convolution as patches.

A row is what one output element sees of its input, in the order in which the weight is stored, so
that ``weight @ row`` is that element without its bias.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view

from edgepack.graph.constants import attribute, constant

Real = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a node reads its first input.

    Attributes:
        groups: Parts of the channels that are multiplied apart.
        kernel: Spatial shape; empty for a matrix.
        strides: One per spatial axis.
        dilations: The same.
        pads: Zeros before and after each spatial axis.
    """

    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], ...] = ()


def why_not_rows(node: ir.Node) -> str:
    """Return why the rows of a weighted node cannot be taken, or an empty string."""
    if node.op_type not in {"Conv", "Gemm", "MatMul"}:
        return f"{node.op_type} does not multiply rows by a weight"
    weight = constant(node.inputs[1])
    if weight is None:
        return "its second operand is not a constant weight"
    if node.op_type != "Conv":
        ready = weight.ndim == 2 and not attribute(node, "transA", 0)
        return "" if ready else "its rows are not the rows of its input"
    spelled = node.attributes.get("auto_pad")
    padded = spelled is not None and spelled.as_string() != "NOTSET"
    return "its padding is not spelled out" if padded else ""


def reading(node: ir.Node) -> Reading:
    """Return how ``node`` reads its input; ``why_not_rows`` was asked before."""
    if node.op_type != "Conv":
        return Reading()
    weight = constant(node.inputs[1])
    assert weight is not None
    kernel = tuple(map(int, weight.shape[2:]))
    ones, pads = (1,) * len(kernel), _integers(node, "pads", (0,) * (2 * len(kernel)))
    return Reading(
        attribute(node, "group", 1),
        kernel,
        _integers(node, "strides", ones),
        _integers(node, "dilations", ones),
        tuple(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)),
    )


def rows(values: Real, read: Reading, most: int, phase: int) -> Real:
    """Return at most ``most`` rows of one run, evenly spread from a start that ``phase`` gives.

    Args:
        values: The input, ``(..., K)``, or ``(N, C, *space)`` for a convolution.
        read: How it is read.
        most: Rows wanted.
        phase: Any integer; see ``calibration/phase.py``.

    Returns:
        float32 of shape ``(groups, rows, K)``.
    """
    if not read.kernel:
        flat = values.reshape(-1, values.shape[-1])
        return flat[_spread(len(flat), most, phase)][None]
    views = _patches(values, read)
    axes = len(read.kernel) + 1
    picked = np.unravel_index(
        _spread(int(np.prod(views.shape[:axes])), most, phase), views.shape[:axes]
    )
    taken = views[picked]
    return np.ascontiguousarray(
        taken.reshape(len(taken), read.groups, -1).transpose(1, 0, 2), np.float32
    )


def _patches(values: Real, read: Reading) -> Real:
    """Return a view of shape ``(N, *positions, C, *kernel)``."""
    rank = len(read.kernel)
    padded = np.pad(values, ((0, 0), (0, 0), *read.pads))
    spans = [(size - 1) * step + 1 for size, step in zip(read.kernel, read.dilations, strict=True)]
    space = tuple(range(2, 2 + rank))
    windows = sliding_window_view(padded, spans, axis=space)
    every = [slice(None, None, step) for step in (1, 1, *read.strides, *read.dilations)]
    return np.moveaxis(windows[tuple(every)], 1, 1 + rank)


def _spread(count: int, most: int, phase: int) -> npt.NDArray[np.intp]:
    step = max(1, -(-count // most))
    return np.arange(phase % step, count, step)


def _integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return default if found is None else tuple(map(int, found.as_ints()))
