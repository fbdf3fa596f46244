"""A copy of a model that reduces tensors where they are made, so that little leaves the runtime.

For each tensor: extrema over everything, per channel where channels are fixed; and, for the
histogram, its values or some of them, see ``thinning``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgepack.calibration.draft import Draft
from edgepack.calibration.layout import in_blocks
from edgepack.calibration.thinning import Thinning
from edgepack.graph.constants import constant
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.machine import arch
from edgepack.runtime.session import Options, Session

_ROWS = frozenset({"MatMul", "Gemm", "LayerNormalization", "Softmax"})
"""Keep channels on the last axis; a convolution keeps them on axis 1."""

_STEADY = frozenset(
    {"Conv", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip", "MaxPool", "AveragePool"}
    | {"GlobalAveragePool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity"}
    | {"DepthToSpace", "Slice", "Sigmoid", "Tanh"}
)
"""Make no NaN of finite numbers; one that comes of overflow has Inf beside it."""


@dataclass(frozen=True, slots=True)
class Tap:
    """What the tapped model tells of one tensor.

    Attributes:
        name: The tensor.
        low: Output with minima, one a channel or one in all; empty where they cannot be below 0,
            the value that every range is widened to hold.
        high: Output with maxima.
        channels: Values in each; 0 where it is one over all channels.
        total: Output with the sum, for NaN alone, or empty: the runtime's extrema pass over one
            that is not the first value.
        values: Output with values for the histogram, or empty.
    """

    name: str
    low: str
    high: str
    channels: int
    total: str = ""
    values: str = ""


@dataclass(frozen=True, slots=True)
class Tapped:
    """An open session of the tapped model; ``phased`` says whether it asks for ``PHASE``."""

    session: Session
    taps: tuple[Tap, ...]
    phased: bool


def tapped(model: ir.Model, tensors: Sequence[str], *, histograms: bool) -> Tapped:
    """Add the reductions for each tensor and open the result, fully optimized.

    Args:
        model: Left as it is.
        tensors: Names of float tensors of the main graph.
        histograms: Whether values leave the runtime too.
    """
    copy = private_copy(model)
    values = {str(v.name): v for v in copy.graph.inputs}
    values |= {str(v.name): v for node in copy.graph for v in node.outputs}
    doubtful = _may_hold_nan(copy.graph, frozenset(tensors))
    blocked = in_blocks(copy.graph) if arch() == "x86_64" else set()
    draft = Draft(copy)
    thinning = Thinning(draft, blocked)
    numbers = {name: index for index, name in enumerate(tensors)}
    taps: dict[str, Tap] = {}
    # The runtime numbers nodes as it walks, from the last of the graph up to what that needs:
    # added in this order, each tap runs right behind what it reads, which the cache still holds.
    for name in reversed([name for name in values if name in numbers]):
        prefix = f"edgepack.tap.{numbers[name]}"
        tap = _extrema(draft, values[name], prefix)
        if name in doubtful:
            draft.end(draft.reduce("ReduceSum", values[name], None), f"{prefix}.total", [])
            tap = replace(tap, total=f"{prefix}.total")
        if histograms:
            tap = replace(tap, values=thinning.values(values[name], f"{prefix}.values"))
        taps[name] = tap
    session = Session(to_bytes(copy), Options(order="priority"), where="the calibration model")
    return Tapped(session, tuple(taps[name] for name in tensors), thinning.phased)


def _extrema(draft: Draft, value: ir.Value, prefix: str) -> Tap:
    """Reduce to one minimum and one maximum, or to one of each per channel."""
    axis = _channel_axis(value)
    shape = value.shape
    channels = 0
    axes: list[int] | None = None
    if axis is not None and shape is not None:
        channels = int(shape[axis])  # type: ignore[arg-type]  # static, or no axis
        axes = [index for index in range(len(shape)) if index != axis]
    low, high = "" if _from_zero(value) else f"{prefix}.low", f"{prefix}.high"
    kept: list[int | None] = [channels] if channels else []
    if low:
        draft.end(draft.reduce("ReduceMin", value, axes), low, kept)
    if axes == [0, 2, 3] and value.dtype == ir.DataType.FLOAT:
        # in the layout that convolutions leave; ReduceMax would have all of it moved first
        pooled = draft.add("GlobalMaxPool", value)
        alone = shape is not None and shape[0] == 1
        peaks = pooled if alone else draft.reduce("ReduceMax", pooled, axes)
        draft.end(peaks, high, [1, channels, 1, 1] if alone else kept)
    else:
        draft.end(draft.reduce("ReduceMax", value, axes), high, kept)
    return Tap(str(value.name), low, high, channels)


def _channel_axis(value: ir.Value) -> int | None:
    """Return the axis of channels where their number is fixed: what neighbours say, else axis 1."""
    shape = value.shape
    if shape is None or len(shape) < 2:
        return None
    near = {user.op_type for user in value.consumers()}
    maker = value.producer()
    near |= set() if maker is None else {maker.op_type}
    axis = len(shape) - 1 if near & _ROWS or len(shape) == 2 else 1
    return axis if isinstance(shape[axis], int) else None


def _from_zero(value: ir.Value) -> bool:
    """Whether ``value`` comes out of a clamp at 0."""
    maker = value.producer()
    if maker is None or maker.op_type not in {"Relu", "Clip"}:
        return False
    floor = constant(maker.inputs[1]) if len(maker.inputs) > 1 else None
    return maker.op_type == "Relu" or (floor is not None and bool((floor == 0).all()))


def _may_hold_nan(graph: ir.Graph, watched: frozenset[str]) -> set[str]:
    """Return the tensors in which a NaN could stand that no other watched tensor shows."""
    doubtful = {str(value.name) for value in graph.inputs}
    for node in graph:
        clean = node.op_type in _STEADY and all(
            value is None or _is_clean(value, doubtful, watched) for value in node.inputs
        )
        if not clean:
            doubtful.update(str(value.name) for value in node.outputs)
    return doubtful


def _is_clean(value: ir.Value, doubtful: set[str], watched: frozenset[str]) -> bool:
    array = constant(value)
    if array is not None:
        return array.dtype.kind != "f" or bool(np.isfinite(array).all())
    return value.name in watched or value.name not in doubtful
