"""A copy of a model that reduces tensors where they are made, so that little leaves the runtime.

For each tensor: extrema over everything, per channel where channels are fixed; and, for the
histogram, its values. A tensor of up to ``WHOLE`` values gives all of them. A larger one gives
every k-th, see ``stride``, from a start that the sample's own bytes decide: the choice depends on
no order and no split, and over many samples every row, column and channel has its turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgepack.graph.constants import add_constant, constant
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Options, Session

WHOLE = 1 << 14
"""Size up to which all values are taken: of a small tensor a thin sample misses the tails."""

_THINNING = 4
"""Of large tensors, one value in so many, beyond those that leave ``WHOLE``: about 4,096 stay."""

PHASE = "edgepack.phase"
"""Input of the tapped model: where sampling starts, taken modulo each tensor's k."""

_NEW_AXES = 18
"""The opset from which ReduceMin and ReduceMax take their axes as an input."""

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
    draft = private_copy(model)
    values = {str(v.name): v for node in draft.graph for v in node.outputs}
    values |= {str(v.name): v for v in draft.graph.inputs}
    doubtful = _may_hold_nan(draft.graph, frozenset(tensors))
    bench = _Bench(draft)
    taps = []
    for index, name in enumerate(tensors):
        tap = bench.extrema(values[name], f"edgepack.tap.{index}")
        if name in doubtful:
            tap = replace(tap, total=bench.total(values[name], f"edgepack.tap.{index}.total"))
        if histograms:
            tap = replace(tap, values=bench.values(values[name], f"edgepack.tap.{index}.values"))
        taps.append(tap)
    session = Session(to_bytes(draft), Options(), where="the calibration model")
    return Tapped(session, tuple(taps), bench.phased)


def stride(size: int) -> int:
    """Return k: every k-th value is taken of a tensor of ``size`` values."""
    return 1 + _THINNING * ((size - 1) // WHOLE)


class _Bench:
    """Adds nodes and outputs to one graph."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._opset = model.graph.opset_imports.get("", _NEW_AXES)
        self._starts: dict[int, ir.Value] = {}
        self._phase: ir.Value | None = None

    @property
    def phased(self) -> bool:
        """Whether any tensor is sampled."""
        return self._phase is not None

    def extrema(self, value: ir.Value, prefix: str) -> Tap:
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
            self._end(self._reduce("ReduceMin", value, axes), low, kept)
        if axes == [0, 2, 3] and value.dtype == ir.DataType.FLOAT:
            # in the layout that convolutions leave; ReduceMax would have all of it moved first
            pooled = self._add("GlobalMaxPool", value)
            alone = shape is not None and shape[0] == 1
            peaks = pooled if alone else self._reduce("ReduceMax", pooled, axes)
            self._end(peaks, high, [1, channels, 1, 1] if alone else kept)
        else:
            self._end(self._reduce("ReduceMax", value, axes), high, kept)
        return Tap(str(value.name), low, high, channels)

    def total(self, value: ir.Value, name: str) -> str:
        """Sum everything."""
        self._end(self._reduce("ReduceSum", value, None), name, [])
        return name

    def values(self, value: ir.Value, name: str) -> str:
        """Give all values, or every k-th, flat."""
        flat = self._add("Reshape", value, self._integers(-1))
        size = _size(value)
        if size is None or size > WHOLE:
            step = self._integers(stride(size)) if size else self._step(value)
            far, axis = self._integers(2**62), self._integers(0)
            flat = self._add("Slice", flat, self._start(step), far, axis, step)
        self._end(flat, name, [None])
        return name

    def _step(self, value: ir.Value) -> ir.Value:
        """Compute k for a tensor whose size is known only when it runs."""
        size = self._add("Reshape", self._add("Size", value), self._integers(1))
        last = self._add("Sub", size, self._integers(1))
        times = self._add("Div", last, self._integers(WHOLE))
        wide = self._add("Mul", times, self._integers(_THINNING))
        return self._add("Add", wide, self._integers(1))

    def _start(self, step: ir.Value) -> ir.Value:
        if self._phase is None:
            kind = ir.TensorType(ir.DataType.INT64)
            self._phase = ir.Value(name=PHASE, shape=ir.Shape([1]), type=kind)
            self._graph.inputs.append(self._phase)
        if id(step) not in self._starts:
            self._starts[id(step)] = self._add("Mod", self._phase, step)
        return self._starts[id(step)]

    def _reduce(self, op: str, value: ir.Value, axes: list[int] | None) -> ir.Value:
        attributes: dict[str, object] = {"keepdims": 0}
        if axes is None:
            return self._add(op, value, attributes=attributes)
        if self._opset >= _NEW_AXES:
            return self._add(op, value, self._integers(*axes), attributes=attributes)
        return self._add(op, value, attributes=attributes | {"axes": axes})

    def _integers(self, *numbers: int) -> ir.Value:
        name = "edgepack.integers." + ".".join(map(str, numbers))
        found = self._graph.initializers.get(name)
        return found or add_constant(self._graph, name, np.array(numbers, np.int64))

    def _add(
        self, op: str, *inputs: ir.Value, attributes: Mapping[str, object] | None = None
    ) -> ir.Value:
        node = ir.node(op, inputs, attributes)  # type: ignore[arg-type]  # ints and lists of ints
        self._graph.append(node)
        return node.outputs[0]

    def _end(self, value: ir.Value, name: str, shape: list[int | None]) -> None:
        value.name = name
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        self._graph.outputs.append(value)


def _size(value: ir.Value) -> int | None:
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return int(np.prod([int(dim) for dim in value.shape]))  # type: ignore[arg-type]  # as checked


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
