"""Where integers flow: which nodes compute in int8, which tensors carry a Q/DQ pair, and why not.

The speed of a quantized graph is placement: the runtime fuses a node only when every tensor
around it is quantized the way its integer kernel wants, and each pair left over costs a pass over
memory. Shared by the QDQ writer and, later, by quantization-aware training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgepack.graph.bodies import why_not_inside
from edgepack.graph.constants import attribute, constant
from edgepack.graph.kernels import (
    CARRIERS,
    CLAMPS,
    FREE,
    INTEGER_OUTPUT,
    JOINS,
    POOLS,
    WEIGHTED,
)


@dataclass(frozen=True, slots=True)
class Placement:
    """The decision, before anything is written.

    Attributes:
        integer: Nodes that compute in int8.
        scale_of: Each quantized tensor -> the tensor whose range gives its scale.
        absorbed: Output of an integer node -> the clamp that its quantized range replaces.
        apart: Matrix products that end in codes since a clamp follows whose float result is read:
            the runtime would compute both in float.
        left: Each other node that computes -> the reason, a sentence.
    """

    integer: dict[ir.Node, None] = field(default_factory=dict)
    scale_of: dict[ir.Value, ir.Value] = field(default_factory=dict)
    absorbed: dict[ir.Value, ir.Node] = field(default_factory=dict)
    apart: dict[ir.Node, None] = field(default_factory=dict)
    left: dict[ir.Node, str] = field(default_factory=dict)

    def ends_in_codes(self, node: ir.Node) -> bool:
        """Whether nobody reads a float result of an integer node."""
        return node in self.integer and (node.op_type in INTEGER_OUTPUT or node in self.apart)


def place(graph: ir.Graph, exclude: Mapping[str, str], *, absorb: bool) -> Placement:
    """Decide placement for ``graph``, whose nodes are in topological order.

    Args:
        graph: Float graph, batch norms folded.
        exclude: Nodes to leave in float, by name, and the reason.
        absorb: Whether a clamp vanishes into the range; false for symmetric activations, whose
            range cannot end at zero.
    """
    plan = Placement()
    _choose(graph, exclude, plan)
    for node in graph:
        if node in plan.integer:
            _quantize_around(node, plan, absorb=absorb)
        elif node.op_type in CARRIERS:
            _carry(node, plan)
    for node in graph:
        if node.op_type in CLAMPS and not _is_taken_in(node, plan):
            plan.left[node] = "no integer kernel takes it in"
    return plan


def _choose(graph: ir.Graph, exclude: Mapping[str, str], plan: Placement) -> None:
    """Sort nodes into integer and left; a join counts on what was chosen before it."""
    for node in graph:
        reason = exclude.get(str(node.name)) or _why_not(node, plan)
        if not reason:
            plan.integer[node] = None
        elif node.op_type not in FREE | CLAMPS:
            plan.left[node] = reason


def _why_not(node: ir.Node, plan: Placement) -> str:
    """Return the reason to leave ``node`` in float, or an empty string."""
    if node.domain not in {"", "ai.onnx"} or node.op_type not in WEIGHTED | JOINS | POOLS:
        return why_not_inside(node) or f"{node.op_type} has no static integer kernel here"
    if node.op_type in WEIGHTED:
        return why_not_weighted(node)
    if not all(_arrives_as_integer(value, plan) for value in node.inputs):
        return "its inputs do not all arrive as integers"
    if attribute(node, "ceil_mode", 0) and attribute(node, "count_include_pad", 0):
        return "the integer kernel counts padding in another way than the float one"
    return ""


def why_not_weighted(node: ir.Node) -> str:
    """Return why a node of ``WEIGHTED`` cannot compute on integers, or an empty string."""
    weight = constant(node.inputs[1])
    if weight is None:
        return "its second operand is not a constant weight"
    if weight.dtype.name != "float32":
        return f"the weight is {weight.dtype.name}: give the float32 model"
    if constant(node.inputs[0]) is not None:
        return "its input is a constant"
    if node.op_type == "MatMul" and weight.ndim != 2:
        return f"its weight has {weight.ndim} axes, not 2"
    if node.op_type == "Gemm" and _is_scaled(node):
        return "it scales or transposes its input"
    if len(node.inputs) > 2 and node.inputs[2] is not None and not _plain_bias(node):
        return "its bias is not a constant vector"
    if _reads_selection(node):
        return "it reads a few selected channels, which would spoil a range"
    return ""


def _reads_selection(node: ir.Node) -> bool:
    """Whether a product reads channels picked one by one, as outliers are; see split_outliers."""
    maker = None if node.inputs[0] is None else node.inputs[0].producer()
    if node.op_type != "MatMul" or maker is None or maker.op_type != "Gather":
        return False
    picked = constant(maker.inputs[1])
    return attribute(maker, "axis", 0) == -1 and picked is not None and picked.ndim == 1


def _is_scaled(node: ir.Node) -> bool:
    factors = (node.attributes.get(name) for name in ("alpha", "beta"))
    return attribute(node, "transA", 0) != 0 or any(f and f.as_float() != 1.0 for f in factors)


def _plain_bias(node: ir.Node) -> bool:
    """Whether the bias is one number per output channel, not per row of a Gemm."""
    bias, weight = constant(node.inputs[2]), constant(node.inputs[1])
    assert weight is not None
    channels = weight.shape[output_axis(node)]
    return bias is not None and bias.size == channels and bias.shape[-1:] in {(), (channels,)}


def output_axis(node: ir.Node) -> int:
    """Return the axis of output channels in the weight of a weighted node."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def is_depthwise(node: ir.Node) -> bool:
    """Whether a convolution has one filter per channel."""
    weight = constant(node.inputs[1])
    return (
        node.op_type == "Conv"
        and weight is not None
        and weight.shape[1] == 1
        and weight.shape[0] == attribute(node, "group", 1)
    )


def _arrives_as_integer(value: ir.Value | None, plan: Placement) -> bool:
    """Whether ``value`` comes out of an integer node, through clamps and carriers at most."""
    node = None if value is None else value.producer()
    while node is not None and node not in plan.integer and node.op_type in CLAMPS | CARRIERS:
        first = node.inputs[0]
        node = None if first is None else first.producer()
    return node is not None and node in plan.integer


def _quantize_around(node: ir.Node, plan: Placement, *, absorb: bool) -> None:
    """Mark the tensors around an integer node, absorbing a clamp that alone follows it."""
    for value in node.inputs:
        if value is not None and constant(value) is None:
            plan.scale_of.setdefault(value, value)
    end = node.outputs[0]
    clamp = _only_clamp(end)
    if clamp is not None and not _may_end_in(node, clamp, plan):
        clamp = None
    if clamp is None and _is_clamped(end):
        plan.apart[node] = None
    final = clamp.outputs[0] if clamp is not None else end
    if not (plan.ends_in_codes(node) or _feeds_integers(final, plan)):
        return
    plan.scale_of.setdefault(final, final)
    if clamp is not None and absorb:
        plan.absorbed[end] = clamp


def _may_end_in(node: ir.Node, clamp: ir.Node, plan: Placement) -> bool:
    """Whether nobody needs the float result of a clamp after a node that may end in float."""
    out = clamp.outputs[0]
    if node.op_type in INTEGER_OUTPUT:
        return True
    return not out.is_graph_output() and all(
        user in plan.integer or (user.op_type in CARRIERS and _only_integers_read(user, plan))
        for user in out.consumers()
    )


def _only_integers_read(carrier: ir.Node, plan: Placement) -> bool:
    out = carrier.outputs[0]
    return not out.is_graph_output() and all(
        user in plan.integer or (user.op_type in CARRIERS and _only_integers_read(user, plan))
        for user in out.consumers()
    )


def _only_clamp(value: ir.Value) -> ir.Node | None:
    clamp = value.consumers()[0] if _is_clamped(value) else None
    return clamp if clamp is not None and _holds_zero(clamp) else None


def _is_clamped(value: ir.Value) -> bool:
    """Whether a clamp alone reads ``value``, in this graph."""
    users = value.consumers()
    alone = len(users) == 1 and not value.is_graph_output()
    return alone and users[0].op_type in CLAMPS and _same_graph(users[0], value)


def _holds_zero(clamp: ir.Node) -> bool:
    """Whether 0 passes a clamp of constant bounds: a quantized range, which holds 0, then does."""
    low, high = [*clamp.inputs[1:], None, None][:2]
    least, most = constant(low), constant(high)
    return (low is None or (least is not None and bool(least <= 0))) and (
        high is None or (most is not None and bool(most >= 0))
    )


def _feeds_integers(value: ir.Value, plan: Placement) -> bool:
    """Whether an integer node reads ``value``, directly or through carriers."""
    return any(
        user in plan.integer
        or (user.op_type in CARRIERS and _feeds_integers(user.outputs[0], plan))
        for user in value.consumers()
        if _same_graph(user, value)
    )


def _same_graph(user: ir.Node, value: ir.Value) -> bool:
    """Whether a reader is outside any If or Loop body: what is inside is not rewritten."""
    maker = value.producer()
    return maker is None or user.graph is maker.graph


def _carry(node: ir.Node, plan: Placement) -> None:
    """Let a carrier between integer nodes keep the scale of its input."""
    source, out = node.inputs[0], node.outputs[0]
    if source in plan.scale_of and _feeds_integers(out, plan):
        plan.scale_of[out] = plan.scale_of[source]


def _is_taken_in(clamp: ir.Node, plan: Placement) -> bool:
    """Whether a clamp is part of an integer node: absorbed, or between it and the pair after it."""
    source = clamp.inputs[0]
    if source is None or source.producer() not in plan.integer:
        return False
    alone = source not in plan.scale_of and clamp.outputs[0] in plan.scale_of
    return alone or plan.absorbed.get(source) is clamp
