"""Scaled dot-product attention spelled out in single nodes: finding it, and saying what is unlike.

``softmax(scale * q k' + mask) v`` for heads that Reshape and Transpose split off the last axis, as
torch's two exporters write it: the scale on the scores or, as a root, on both operands; the keys
swapped by a Transpose or by Reshape, Transpose, Reshape; and a guard that turns the NaN of a row
whose every key is masked by minus infinity into 0.

Source: Vaswani et al. 2017, arXiv:1706.03762, eq. (1).
"""

from dataclasses import dataclass, field

import onnx_ir as ir

from edgepack.graph.constants import attribute, constant, rank

_SPLIT = (0, 2, 1, 3)
"""``[batch, tokens, heads, size]`` to ``[batch, heads, tokens, size]``, and back."""
_SPLIT_AND_SWAPPED = (0, 2, 3, 1)
_SWAPPED = ((0, 1, 3, 2), (0, 2, 1))


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention, from three tensors ``[batch, tokens, heads * size]`` to another.

    Attributes:
        query: What the scores are made of, with ``key``.
        key: As many tokens as ``value``.
        value: What is mixed; its heads may have another size.
        heads: How many.
        factors: What the product of query and key is multiplied by.
        mask: What is added to the scores, broadcast to ``[batch, heads, tokens, keys]``, or None.
        guarded: Whether a row of NaN becomes 0.
        end: The node whose output is the result.
    """

    query: ir.Value
    key: ir.Value
    value: ir.Value
    heads: int
    factors: "Factors"
    mask: ir.Value | None
    guarded: bool
    end: ir.Node


@dataclass(slots=True)
class Factors:
    """Scalars: the product of constant ones, and those that are computed."""

    constant: float = 1.0
    multiplied: list[ir.Value] = field(default_factory=list)
    divided: list[ir.Value] = field(default_factory=list)

    def peel(self, value: ir.Value) -> ir.Value:
        """Take note of scalars that multiply or divide a tensor, and return what is left."""
        while (node := value.producer()) is not None and node.op_type in {"Mul", "Div"}:
            first, second = node.inputs
            if first is None or second is None:
                break
            if node.op_type == "Mul" and _is_scalar(first) and not _is_scalar(second):
                first, second = second, first
            if not _is_scalar(second) or _is_scalar(first):
                break
            self._note(second, divides=node.op_type == "Div")
            value = first
        return value

    def _note(self, scalar: ir.Value, *, divides: bool) -> None:
        known = constant(scalar)
        if known is None:
            (self.divided if divides else self.multiplied).append(scalar)
        elif divides:
            self.constant /= float(known.reshape(()))
        else:
            self.constant *= float(known.reshape(()))


class UnlikeError(Exception):
    """Why an attention is not of the form that a kernel computes; a sentence."""


def find(softmax: ir.Node) -> Attention | None:
    """Return the attention around a Softmax, None where it weighs no computed tensor.

    Raises:
        UnlikeError: There is one, of another form.
    """
    mix, guarded = _mix(softmax)
    if mix is None:
        return None
    if attribute(softmax, "axis", -1) not in {-1, 3}:
        raise UnlikeError("its softmax does not run over the keys")
    assert softmax.inputs[0] is not None
    factors = Factors()
    scores, mask = _scores_and_mask(softmax.inputs[0], factors)
    product = scores.producer()
    assert product is not None
    left, right = product.inputs
    assert left is not None
    assert right is not None
    assert mix.inputs[1] is not None
    query, heads = _split(left, factors)
    key, key_heads = _split_and_swapped(right, factors)
    value, value_heads = _split(mix.inputs[1], Factors())
    if not heads == key_heads == value_heads:
        raise UnlikeError("its query, key and value have unlike numbers of heads")
    if not (_same(query, key, 0) and _same(query, value, 0) and _same(key, value, 1)):
        raise UnlikeError("its query, key and value have batches or tokens of unlike or open size")
    _check_mask(mask, scores)
    return Attention(query, key, value, heads, factors, mask, guarded, _end(mix, value))


def _mix(softmax: ir.Node) -> tuple[ir.Node | None, bool]:
    """Return the product of the weights with a computed tensor, and whether NaN become 0 before."""
    weights, guarded = softmax.outputs[0], False
    users = weights.consumers()
    if {user.op_type for user in users} == {"IsNaN", "Where"} and len(users) == 2:
        guard = next(user for user in users if user.op_type == "Where")
        asked = None if guard.inputs[0] is None else guard.inputs[0].producer()
        zero = constant(guard.inputs[1])
        if asked in users and zero is not None and zero.size == 1 and not zero.any():
            weights, guarded = guard.outputs[0], True
            users = weights.consumers()
    mix = next((user for user in users if user.op_type == "MatMul"), None)
    if mix is None or mix.inputs[0] is not weights or constant(mix.inputs[1]) is not None:
        return None, False
    if len(users) > 1 or weights.is_graph_output() or softmax.outputs[0].is_graph_output():
        raise UnlikeError("its weights are also read by another node")
    return mix, guarded


def _scores_and_mask(value: ir.Value, factors: Factors) -> tuple[ir.Value, ir.Value | None]:
    """Take the mask and the scale off what enters the softmax; scores come from a MatMul."""
    node = value.producer()
    if node is not None and node.op_type == "Add":
        for scaled, mask in (node.inputs, reversed(node.inputs)):
            inner = Factors()
            assert scaled is not None
            scores = inner.peel(scaled)
            if _is_product(scores):
                return factors.peel(scaled), mask
    scores = factors.peel(value)
    if not _is_product(scores):
        raise UnlikeError("its scores are no product with an added mask")
    return scores, None


def _split(value: ir.Value, factors: Factors) -> tuple[ir.Value, int]:
    """Return what heads were split off, and their number."""
    node = factors.peel(value).producer()
    if node is None or node.op_type != "Transpose" or _permutation(node) != _SPLIT:
        raise UnlikeError("its heads are not split off by Reshape and Transpose")
    assert node.inputs[0] is not None
    return _reshaped(factors.peel(node.inputs[0]))


def _split_and_swapped(value: ir.Value, factors: Factors) -> tuple[ir.Value, int]:
    """Return what the heads of the keys were split off, and their number."""
    value = factors.peel(value)
    node = value.producer()
    if node is not None and node.op_type == "Transpose" and _permutation(node) in _SWAPPED:
        assert node.inputs[0] is not None
        return _split(node.inputs[0], factors)
    if node is not None and node.op_type == "Transpose":
        assert node.inputs[0] is not None
        if _permutation(node) == _SPLIT_AND_SWAPPED:
            return _reshaped(factors.peel(node.inputs[0]))
    if (source := _swapped_flat(value)) is not None:
        return _split(source, factors)
    raise UnlikeError("its keys are not split into heads and swapped")


def _swapped_flat(value: ir.Value) -> ir.Value | None:
    """Return what was flattened to three axes, swapped in the last two and unflattened."""
    chain = []
    for op in ("Reshape", "Transpose", "Reshape"):
        node = value.producer()
        if node is None or node.op_type != op or node.inputs[0] is None:
            return None
        chain.append(value)
        value = node.inputs[0]
    swapped, flat = chain[1].producer(), chain[2]
    assert swapped is not None
    if rank(value) != 4 or rank(flat) != 3 or rank(chain[0]) != 4:
        return None
    ends = all(_same(value, flat, axis, axis - 1) for axis in (2, 3))
    kept = all(_same(value, chain[0], axis) for axis in (0, 1))
    return value if ends and kept and _permutation(swapped) in _SWAPPED else None


def _reshaped(value: ir.Value) -> tuple[ir.Value, int]:
    """Return what a Reshape split along its last axis, and into how many heads."""
    node = value.producer()
    source = None if node is None or node.op_type != "Reshape" else node.inputs[0]
    if source is None or rank(source) != 3 or rank(value) != 4:
        raise UnlikeError("its heads are not split off the last of three axes")
    assert value.shape is not None
    assert source.shape is not None
    heads, width = value.shape[2], source.shape[2]
    kept = _same(source, value, 0) and _same(source, value, 1)
    if not (kept and isinstance(heads, int) and isinstance(width, int) and width % heads == 0):
        raise UnlikeError("its heads are not split off the last of three axes")
    return source, heads


def _end(mix: ir.Node, value: ir.Value) -> ir.Node:
    """Return the Reshape that lays the heads side by side again."""
    node = _only_reader(mix)
    if node is None or node.op_type != "Transpose" or _permutation(node) != _SPLIT:
        raise UnlikeError("its heads are not brought together by Transpose and Reshape")
    end, out = _only_reader(node), node.outputs[0]
    if end is None or end.op_type != "Reshape" or rank(end.outputs[0]) != 3:
        raise UnlikeError("its heads are not brought together by Transpose and Reshape")
    if not (all(_same(out, end.outputs[0], axis) for axis in (0, 1)) and _same(value, end, 2)):
        raise UnlikeError("its heads are not laid side by side")
    return end


def _check_mask(mask: ir.Value | None, scores: ir.Value) -> None:
    if mask is None:
        return
    axes = rank(mask)
    if axes is None or not 1 <= axes <= 4 or not _same(mask, scores, -1):
        raise UnlikeError("its mask has another number of keys, or an open one")


def _permutation(node: ir.Node) -> tuple[int, ...]:
    found = node.attributes.get("perm")
    return () if found is None else tuple(found.as_ints())


def _only_reader(node: ir.Node) -> ir.Node | None:
    out = node.outputs[0]
    uses = out.uses()
    return None if len(uses) != 1 or out.is_graph_output() else next(iter(uses))[0]


def _is_product(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "MatMul" and not any(map(constant, node.inputs))


def _is_scalar(value: ir.Value) -> bool:
    array = constant(value)
    if array is not None:
        return array.ndim <= 1 and array.size == 1
    return value.shape is not None and tuple(value.shape) in {(), (1,)}


def _same(a: ir.Value, b: ir.Value | ir.Node, axis: int, other: int | None = None) -> bool:
    """Whether an axis of two tensors has one size: the same number, or the same name."""
    second = b.outputs[0] if isinstance(b, ir.Node) else b
    if a.shape is None or second.shape is None:
        return False
    x, y = a.shape[axis], second.shape[axis if other is None else other]
    if isinstance(x, int) or isinstance(y, int):
        return x == y
    return x.value is not None and x == y
