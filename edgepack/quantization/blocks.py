"""Weights in four bits, packed as MatMulNBits reads them: blocks along K with a scale each.

Source: onnxruntime docs, ContribOperators, com.microsoft.MatMulNBits; Frantar et al. 2022,
arXiv:2210.17323, section 4 (groups of weights that share a scale).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.constants import Array, add_constant, constant
from edgepack.quantization.gptq import Round, output_error, round_rows
from edgepack.quantization.pair_law import Weights
from edgepack.quantization.placement import output_axis

LEVELS = 15
"""Codes 0 to 15; without zero points 8 stands for real 0."""

_MIDDLE = 8
_SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Parts of a block's range tried: giving up the largest weight a little serves the others."""

_IN_FLOAT, _IN_BYTES = 0, 4
"""``accuracy_level``: the input stays float32, or is rounded to int8, block by block."""

_WORTH_IT = 0.95
"""A zero point costs half a byte a block; it has to lower the squared error by a twentieth."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix ``(K, N)`` in four bits.

    Attributes:
        packed: Two codes a byte, low one first, uint8 of shape ``(N, K / block, block / 2)``.
        scale: float32 of shape ``(N * K / block,)``.
        zero_points: Two a byte, per row of blocks; None where 8 is the zero of all.
        error: Mean squared error; of ``round_blocks``, see there.
    """

    packed: npt.NDArray[np.uint8]
    scale: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.uint8] | None
    error: float


def quantize_blocks(weight: Array, block: int) -> Blocks:
    """Round a matrix to four bits, with zero points where they lower the error enough.

    Args:
        weight: Shape ``(K, N)``.
        block: Neighbours along K that share a scale; K is padded with zeros to a multiple.
    """
    blocks = _split(weight.astype(np.float64), block)
    middle, signed = np.full((*blocks.shape[:2], 1), _MIDDLE), _symmetric(blocks)
    offset, step = _asymmetric(blocks)
    even, odd = _error(blocks, signed, middle), _error(blocks, step, offset)
    if odd.sum() < _WORTH_IT * even.sum():
        return _pack(blocks, step, offset, float(odd.sum() / weight.size))
    kept = _pack(blocks, signed, middle, float(even.sum() / weight.size))
    return Blocks(kept.packed, kept.scale, None, kept.error)


def round_blocks(weight: Array, block: int, moments: Weights) -> Blocks:
    """Round a matrix to four bits so that its products on the data seen change least.

    Args:
        weight: Shape ``(K, N)``.
        block: Neighbours along K that share a scale.
        moments: Second moments of its input, shape ``(K, K)``.

    Returns:
        With zero points where they pay; ``error`` is that of the products, summed over what was
        seen.
    """
    exact = weight.astype(np.float64)
    found = {odd: _compensated(exact, block, moments, odd=odd) for odd in (False, True)}
    return found[found[True].error < _WORTH_IT * found[False].error]


def _compensated(weight: Weights, block: int, moments: Weights, *, odd: bool) -> Blocks:
    """Fix the grid of a block once all errors before it have arrived, then round row by row.

    An error counts for a grid by the mean square of the input that it is multiplied with.
    """
    grids: list[tuple[Weights, Weights]] = []
    heavy = np.diag(moments)[:, None] + np.finfo(np.float32).tiny

    def start(left: Weights) -> Round:
        blocks = _split(left, block)
        first = len(grids) * block
        weigh = _split(heavy[first : first + len(left)], block)
        if odd:
            offset, scale = _asymmetric(blocks, weigh)
        else:
            scale, offset = _symmetric(blocks, weigh), np.full((len(blocks), 1, 1), float(_MIDDLE))
        stored = scale.astype(np.float32).astype(np.float64)
        grids.append((stored, offset))
        step, zero = stored[:, 0, 0], offset[:, 0, 0]
        return lambda _, row: (_codes(row, step, zero) - zero) * step

    rounded = round_rows(weight, moments, block, start)
    scale, offset = (np.concatenate(parts, axis=1) for parts in zip(*grids, strict=True))
    error = output_error(weight, rounded, moments)
    packed = _pack(_split(rounded, block), scale, offset, error)
    return packed if odd else Blocks(packed.packed, packed.scale, None, error)


def _split(weight: Weights, block: int) -> Weights:
    """Return ``(K, N)`` as ``(N, K / block, block)``, padded with zeros."""
    rows = weight.T
    missing = -rows.shape[1] % block
    padded = np.pad(rows, ((0, 0), (0, missing)))
    return padded.reshape(len(rows), -1, block)


def _codes(blocks: Weights, scale: Weights, offset: Weights) -> Weights:
    codes: Weights = np.clip(np.rint(blocks / scale) + offset, 0, LEVELS)
    return codes


def _error(
    blocks: Weights, scale: Weights, offset: Weights, weigh: Weights | None = None
) -> Weights:
    """Return the squared error of each block, ``(N, K / block, 1)``, entries weighed if asked."""
    stored = scale.astype(np.float32).astype(np.float64)
    back = (_codes(blocks, stored, offset) - offset) * stored
    squares = np.square(back - blocks)
    wrong: Weights = (squares if weigh is None else squares * weigh).sum(axis=2, keepdims=True)
    return wrong


def _positive(scale: Weights) -> Weights:
    """Keep a scale away from 0; a negative one is meant: it gives -8 to the largest weight."""
    small = np.finfo(np.float32).tiny
    return np.where(np.abs(scale) < small, small, scale)


def _symmetric(blocks: Weights, weigh: Weights | None = None) -> Weights:
    """Return the scale of each block that loses least, code 0 at its largest weight."""
    top = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    tried = [_positive(top * part / -_MIDDLE) for part in _SHRUNK]
    middle = np.full_like(top, _MIDDLE)
    return _least(blocks, tried, [middle] * len(tried), weigh)[0]


def _asymmetric(blocks: Weights, weigh: Weights | None = None) -> tuple[Weights, Weights]:
    """Return zero point and scale of each block that lose least; its range holds 0."""
    low = np.minimum(blocks.min(axis=2, keepdims=True), 0)
    high = np.maximum(blocks.max(axis=2, keepdims=True), 0)
    tried = [_positive((high - low) * part / LEVELS) for part in _SHRUNK]
    offsets = [
        np.clip(np.rint(-low * part / s), 0, LEVELS) for part, s in zip(_SHRUNK, tried, strict=True)
    ]
    scale, offset = _least(blocks, tried, offsets, weigh)
    return offset, scale


def _least(
    blocks: Weights, scales: list[Weights], offsets: list[Weights], weigh: Weights | None = None
) -> tuple[Weights, Weights]:
    """Pick, block by block, the pair of scale and offset with the least error."""
    errors = np.stack([_error(blocks, *pair, weigh) for pair in zip(scales, offsets, strict=True)])
    best = errors.argmin(axis=0)[None]
    picked = (np.take_along_axis(np.stack(each), best, axis=0)[0] for each in (scales, offsets))
    scale, offset = picked
    return scale, offset


def _pack(blocks: Weights, scale: Weights, offset: Weights, error: float) -> Blocks:
    stored = scale.astype(np.float32)
    codes = _codes(blocks, stored.astype(np.float64), offset).astype(np.uint8)
    return Blocks(
        _nibbles(codes),
        stored.reshape(-1),
        _nibbles(offset[..., 0].astype(np.uint8)).reshape(-1),
        error,
    )


def _nibbles(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Put two codes of the last axis into a byte, the first in its low half."""
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    return np.asarray(even[..., 0::2] | (even[..., 1::2] << 4), np.uint8)


def write_blocks(
    node: ir.Node, block: int, moments: Weights | None = None, *, round_input: bool
) -> str:
    """Replace a MatMul or Gemm by MatMulNBits, and an Add where there is a bias.

    Args:
        node: A plain product with a constant matrix.
        block: Neighbours along K that share a scale.
        moments: Second moments of its input for GPTQ; None to round to nearest.
        round_input: Whether the kernel may round its input to bytes too, as it is faster.
    """
    weight, graph = constant(node.inputs[1]), node.graph
    assert weight is not None
    assert isinstance(graph, ir.Graph)
    matrix = weight.T if output_axis(node) == 0 else weight
    if moments is None:
        packed = quantize_blocks(matrix, block)
    else:
        packed = round_blocks(matrix, block, moments)
    parts: dict[str, Array | None] = {
        "": packed.packed,
        ".scale": packed.scale,
        ".zero_point": packed.zero_points,
    }
    constants = [
        add_constant(graph, f"{node.name}.weight{suffix}", part)
        for suffix, part in parts.items()
        if part is not None
    ]
    facts = {"K": matrix.shape[0], "N": matrix.shape[1], "bits": 4, "block_size": block}
    product = ir.node(
        "MatMulNBits",
        [node.inputs[0], *constants],
        {**facts, "accuracy_level": _IN_BYTES if round_input else _IN_FLOAT},
        domain="com.microsoft",
        name=node.name,
    )
    graph.opset_imports["com.microsoft"] = 1
    made = [product]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        made.append(ir.node("Add", [product.outputs[0], node.inputs[2]], name=f"{node.name}.bias"))
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], made, node.outputs, made[-1].outputs
    )
    return "symmetric" if packed.zero_points is None else "with zero points"
