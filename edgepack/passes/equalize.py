"""Cross-layer equalization: give every channel between two layers its fair share of the range.

One scale serves a whole tensor of activations, so a channel a hundred times smaller than its
neighbours is left with two or three codes. Where nothing but positively homogeneous nodes stand
between two layers, the channel can be made larger in the first and taken back in the second.

Factors are powers of two: multiplying by them rounds nothing, so outputs stay the same bit for
bit, at the price of up to half an octave from the optimum. A clamp at 6 does not scale with its
channel, and the pair around it is left alone.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.1 and eq. (11):
``s = sqrt(r1 r2) / r2`` with ``r1``, ``r2`` the largest weights that write and read a channel.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.chains import Link, channels_in, channels_out, links, rows_first
from edgepack.graph.constants import Array, add_constant, attribute, constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step

Octaves = npt.NDArray[np.float64]

_SWEEPS = 200
_SETTLED = 1e-3
"""Octaves: a sweep that moves no channel by more is the last."""

_FARTHEST = 24
"""Octaves a channel may move: beyond, its weights do not matter or the net is damaged."""


class Equalize(Step, frozen=True):
    """Balance the channels between layers by powers of two; outputs stay as they are.

    Attributes:
        least: Octaves that some channel must have to move before a pair is touched. Weights alone
            show only gross imbalance; what each channel carries on real data they do not show.
    """

    least: float = 2.0
    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Balance all pairs together, then move each channel once."""
        found = list(links(model.graph))
        for link in found:
            if link.broken:
                where = f"{link.first.name} to {link.second.name}"
                yield Edit(where, f"not equalized: {link.broken}", left=True)
        whole = [link for link in found if not link.broken]
        for link, octaves in zip(whole, _balanced(whole), strict=True):
            apart = octaves - np.median(octaves)  # moving all alike changes nothing
            if np.abs(apart).max() >= self.least:
                moves = np.rint(np.clip(apart, -_FARTHEST, _FARTHEST)).astype(np.int64)
                _scale(model.graph, link, moves)
                count = int(np.count_nonzero(moves))
                yield Edit(
                    str(link.first.name),
                    f"{count} of {moves.size} channels balanced with {link.second.name}",
                )


class _Layer:
    """Largest weights of a layer from each input to each output channel, in octaves."""

    def __init__(self, node: ir.Node) -> None:
        weight = constant(node.inputs[1])
        assert weight is not None
        rows = weight if rows_first(node) else weight.T
        size = np.abs(rows.astype(np.float64)).reshape(*rows.shape[:2], -1).max(axis=2)
        with np.errstate(divide="ignore"):
            self._octaves = np.log2(size)
        groups = attribute(node, "group", 1) if node.op_type == "Conv" else 1
        each = len(size) // groups
        inner = size.shape[1]
        self._inputs = (np.arange(len(size)) // each)[:, None] * inner + np.arange(inner)
        self._count = channels_in(node)

    def written(self) -> Octaves:
        """Return the largest weight that writes each output channel."""
        return np.asarray(self._octaves.max(axis=1))

    def read(self) -> Octaves:
        """Return the largest weight that reads each input channel."""
        found = np.full(self._count, -np.inf)
        np.maximum.at(found, self._inputs, self._octaves)
        return found

    def move_outputs(self, octaves: Octaves) -> None:
        """Scale what writes each output channel."""
        self._octaves = self._octaves + octaves[:, None]

    def move_inputs(self, octaves: Octaves) -> None:
        """Scale what reads each input channel."""
        self._octaves = self._octaves + octaves[self._inputs]


def _balanced(pairs: Sequence[Link]) -> list[Octaves]:
    """Return by how many octaves to raise each channel of each pair.

    A layer between two others takes part in two pairs, so sweeps are repeated until all settle.
    """
    layers = {node: _Layer(node) for link in pairs for node in (link.first, link.second)}
    moved = [np.zeros(len(layers[link.first].written())) for link in pairs]
    for _ in range(_SWEEPS):
        largest = 0.0
        for index, link in enumerate(pairs):
            first, second = layers[link.first], layers[link.second]
            read = second.read().reshape(-1, link.repeat).max(axis=1)
            written = first.written()
            alive = np.isfinite(read) & np.isfinite(written)
            step = np.zeros_like(written)
            step[alive] = (read[alive] - written[alive]) / 2
            first.move_outputs(step)
            second.move_inputs(-np.repeat(step, link.repeat))
            moved[index] += step
            largest = max(largest, float(np.abs(step).max(initial=0)))
        if largest < _SETTLED:
            break
    return moved


def _scale(graph: ir.Graph, link: Link, moves: npt.NDArray[np.int64]) -> None:
    """Raise channels in the first layer and lower them in the second."""
    first, second = link.first, link.second
    raised = moves if rows_first(first) else moves[None, :]
    _store(graph, first, 1, _moved(first, 1, raised))
    if len(first.inputs) > 2 and first.inputs[2] is not None:
        _store(graph, first, 2, _moved(first, 2, moves))
    lowered = -np.repeat(moves, link.repeat)
    if second.op_type == "Conv":  # each row reads the channels of its group
        groups = attribute(second, "group", 1)
        lowered = np.repeat(lowered.reshape(groups, -1), channels_out(second) // groups, axis=0)
    else:
        lowered = lowered[None, :] if rows_first(second) else lowered[:, None]
    _store(graph, second, 1, _moved(second, 1, lowered))


def _moved(node: ir.Node, index: int, octaves: npt.NDArray[np.int64]) -> Array:
    """Return a constant of ``node``, times two to the power of ``octaves`` along leading axes."""
    array = constant(node.inputs[index])
    assert array is not None
    shape = array.shape if index == 2 else octaves.shape + (1,) * (array.ndim - octaves.ndim)
    return np.asarray(np.ldexp(array, octaves.reshape(shape)))


def _store(graph: ir.Graph, node: ir.Node, index: int, array: Array) -> None:
    part = "weight" if index == 1 else "bias"
    name = f"{node.name}.equalized_{part}"
    node.replace_input_with(index, add_constant(graph, name, array.astype(np.float32)))
