"""Which values of a tensor leave the runtime for its histogram.

A tensor of up to ``WHOLE`` values gives all of them. A larger one gives every k-th, see ``stride``,
from a start that the sample's own bytes decide: the choice depends on no order and no split, and
over many samples every row, column and channel has its turn.

Pictures between convolutions are thinned before that, where x86 keeps them in blocks of 8 or 16
channels: to move all of one out of that layout, and then throw nearly all of it away, is most of
what counting would cost (``benchmarks/calibration.py``). A depthwise convolution with a single 1 in
each channel's kernel stays in the layout, and takes one value of each cell as it is (but -0, which
becomes 0). Where in its cells a channel looks differs from channel to channel, so that together
they see every row and column. Beside an infinity the value taken is not a number: calibration
refuses that tensor anyway.
"""

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.calibration.draft import Draft
from edgepack.calibration.layout import ALIGNED

WHOLE = 1 << 14
"""Size up to which all values are taken: of a small tensor a thin sample misses the tails."""

_THINNING = 4
"""Of large tensors, one value in so many, beyond those that leave ``WHOLE``: about 4,096 stay."""

PHASE = "edgepack.phase"
"""Input of the tapped model: where sampling starts, taken modulo each tensor's k."""

_SIDE = 8
"""The longest side of a cell."""

_OUT = 40
"""What a value costs that leaves the runtime and is counted, in multiply-adds: a rough figure."""

Cell = tuple[int, int]
"""Rows and columns."""


def stride(size: int) -> int:
    """Return k: every k-th value is taken of a tensor of ``size`` values."""
    return 1 + _THINNING * ((size - 1) // WHOLE)


def cell(channels: int, height: int, width: int) -> Cell:
    """Return the cells in which to thin a picture: those that cost least, at most k large.

    A kernel is as much larger than its cell as sides are left over, so that it reaches the last
    row and column; with no more rows or columns than there are channels, each has its turn.
    """
    most = stride(channels * height * width)
    cells = [
        (rows, columns)
        for rows in range(1, min(_SIDE, height) + 1)
        for columns in range(1, min(_SIDE, width) + 1)
        if rows * columns <= most
        and max(_kernel((rows, columns), height, width)) <= max(channels, 1)
    ]
    return min(cells, key=lambda each: _cost(each, height, width), default=(1, 1))


def picker(channels: int, kernel: Cell) -> npt.NDArray[np.float32]:
    """Return weights ``(channels, 1, *kernel)`` with a 1 in each channel, wandering diagonally."""
    rows, columns = kernel
    channel = np.arange(channels)
    weights = np.zeros((channels, 1, rows, columns), np.float32)
    # along one diagonal all rows and columns are met; then along the next, until none is left
    shifted = channel + channel // math.lcm(rows, columns)
    weights[channel, 0, channel % rows, shifted % columns] = 1
    return weights


class Thinning:
    """Adds to a draft what gives the values of tensors."""

    def __init__(self, draft: Draft, blocked: set[str]) -> None:
        """Thin the tensors of ``blocked`` in blocks of channels."""
        self._draft = draft
        self._blocked = blocked
        self._starts: dict[int, ir.Value] = {}
        self._phase: ir.Value | None = None

    @property
    def phased(self) -> bool:
        """Whether any tensor is sampled from a start."""
        return self._phase is not None

    def values(self, value: ir.Value, name: str) -> str:
        """Give all values, or some, flat."""
        draft = self._draft
        thin = self._picked(value) if value.name in self._blocked else value
        flat = draft.add("Reshape", thin, draft.integers(-1))
        size = _size(thin)
        if size is None or size > WHOLE:
            step = draft.integers(stride(size)) if size else self._step(thin)
            far, axis = draft.integers(2**62), draft.integers(0)
            flat = draft.add("Slice", flat, self._start(step), far, axis, step)
        draft.end(flat, name, [None])
        return name

    def _picked(self, value: ir.Value) -> ir.Value:
        """Take one value of each cell of a picture, all of a picture that is small or odd."""
        batch, *sides = value.shape or (None,)
        if len(sides) != 3 or not all(isinstance(side, int) for side in sides):
            return value
        channels, height, width = map(int, sides)  # type: ignore[arg-type]  # as checked
        rows, columns = cell(channels, height, width)
        if rows * columns == 1 or channels % ALIGNED:
            return value
        kernel = _kernel((rows, columns), height, width)
        name = f"picker.{channels}.{kernel[0]}.{kernel[1]}"
        picked = self._draft.add(
            "Conv",
            value,
            self._draft.constant(name, picker(channels, kernel)),
            attributes={"group": channels, "strides": [rows, columns]},
        )
        picked.type = ir.TensorType(ir.DataType.FLOAT)
        picked.shape = ir.Shape([batch, channels, height // rows, width // columns])
        return picked

    def _step(self, value: ir.Value) -> ir.Value:
        """Compute k for a tensor whose size is known only when it runs."""
        draft = self._draft
        size = draft.add("Reshape", draft.add("Size", value), draft.integers(1))
        last = draft.add("Sub", size, draft.integers(1))
        times = draft.add("Div", last, draft.integers(WHOLE))
        wide = draft.add("Mul", times, draft.integers(_THINNING))
        return draft.add("Add", wide, draft.integers(1))

    def _start(self, step: ir.Value) -> ir.Value:
        if self._phase is None:
            kind = ir.TensorType(ir.DataType.INT64)
            self._phase = ir.Value(name=PHASE, shape=ir.Shape([1]), type=kind)
            self._draft.graph.inputs.append(self._phase)
        if id(step) not in self._starts:
            self._starts[id(step)] = self._draft.add("Mod", self._phase, step)
        return self._starts[id(step)]


def _kernel(of: Cell, height: int, width: int) -> Cell:
    rows, columns = of
    return rows + height % rows, columns + width % columns


def _cost(of: Cell, height: int, width: int) -> float:
    """Return multiply-adds for each value of the picture."""
    rows, columns = of
    if rows * columns == 1:
        return _OUT  # nothing to pick
    return (math.prod(_kernel(of, height, width)) + _OUT) / (rows * columns)


def _size(value: ir.Value) -> int | None:
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return int(np.prod([int(dim) for dim in value.shape]))  # type: ignore[arg-type]  # as checked
