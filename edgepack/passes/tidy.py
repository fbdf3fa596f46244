"""Say the same with less: fold constants, drop what does nothing, use what kernels know."""

import logging
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    DeduplicateInitializersPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
)

from edgepack.graph.constants import attribute, constant, rank
from edgepack.graph.linear import FLOATS, product_and_bias
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step

_MOVERS = frozenset(
    {"Slice", "Concat", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Split", "Flatten"}
)
"""Move values: folding them does not make a file larger where nothing else reads the weight."""

_LARGEST = 2**31
"""No limit: what is moved was there before."""


class Tidy(Step, frozen=True):
    """Fold constants, remove identities and unused parts, rewrite a spatial mean as a pool.

    A recurrent layer's weights leave torch's exporter as a graph of Slice and Concat; until they
    are folded no quantizer sees an LSTM weight.
    """

    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Run each clean-up once, in the order in which one uncovers work for the next."""
        from onnxscript.optimizer import fold_constants

        before = model.graph.num_nodes()
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        fold_constants(model, onnx_shape_inference=False)
        fold_constants(
            model,
            onnx_shape_inference=False,
            output_size_limit=_LARGEST,
            should_fold=_moves_weights,
        )
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        _drop_identities(model)
        yield from _pads_into_convolutions(model.graph)
        yield from _means_to_pools(model.graph)
        yield from _sums_into_products(model.graph)
        RemoveUnusedNodesPass()(model)
        _deduplicate(model)
        if (gone := before - model.graph.num_nodes()) > 0:
            yield Edit("graph", f"{gone} nodes folded or removed")


def _drop_identities(model: ir.Model) -> None:
    """Drop each Identity but those that give an input, a weight or an output another name.

    The pass of onnx_ir 1.1 also drops the last kind: two outputs, of a Scan's body say, became one.
    """
    for node in [n for n in model.graph.all_nodes() if n.op_type == "Identity" and not n.domain]:
        source, out = node.inputs[0], node.outputs[0]
        assert source is not None, "the reader refuses such a node"
        if out.is_graph_output():
            maker = source.producer()
            if maker is None or maker.graph is not node.graph or source.is_graph_output():
                continue
        source.type = source.type or out.type
        source.shape = source.shape or out.shape
        name, renamed = out.name, out.is_graph_output()
        ir.convenience.replace_all_uses_with(out, source, replace_graph_outputs=True)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        if renamed:
            source.name = name


def _deduplicate(model: ir.Model) -> None:
    """Keep one of equal weights, without a log line for each that is an output and so stays."""
    logger = logging.getLogger(DeduplicateInitializersPass.__module__)
    before, logger.disabled = logger.disabled, True
    try:
        DeduplicateInitializersPass()(model)
    finally:
        logger.disabled = before


def _moves_weights(node: ir.Node) -> bool:
    """Whether only nodes like this one read each constant: a tied embedding is not copied."""
    return node.op_type in _MOVERS and all(
        user.op_type in _MOVERS
        for value in node.inputs
        if value is not None and rank(value) != 1  # positions, not weights
        for user in value.consumers()
    )


def _means_to_pools(graph: ir.Graph) -> Iterator[Edit]:
    """Rewrite ReduceMean over height and width as GlobalAveragePool, which has integer kernels."""
    for node in [n for n in graph if n.op_type == "ReduceMean" and rank(n.inputs[0]) == 4]:
        axes, source = _axes(node), node.inputs[0]
        if (
            source is None
            or source.dtype not in FLOATS
            or axes is None
            or sorted(axis % 4 for axis in axes) != [2, 3]
        ):
            continue
        out = node.outputs[0]
        if attribute(node, "keepdims", 1):
            new = [ir.node("GlobalAveragePool", [node.inputs[0]], name=f"{node.name}.pool")]
        else:
            pool = ir.node("GlobalAveragePool", [node.inputs[0]], name=f"{node.name}.pool")
            _describe(pool, f"{out.name}.pooled", node.inputs[0], spatial=(1, 1))
            new = [pool, ir.node("Flatten", [pool.outputs[0]], name=f"{node.name}.flat")]
        _replace(graph, node, new)
        yield Edit(str(node.name), "a mean over height and width is GlobalAveragePool")


def _pads_into_convolutions(graph: ir.Graph) -> Iterator[Edit]:
    """Give a convolution the zero padding of the Pad that only it reads."""
    for node in [n for n in graph if n.op_type == "Conv"]:
        pad = None if node.inputs[0] is None else node.inputs[0].producer()
        amounts = None if pad is None or pad.op_type != "Pad" else _zero_pads(pad)
        if amounts is None or pad is None or len(pad.outputs[0].uses()) > 1:
            continue
        if pad.outputs[0].is_graph_output() or "auto_pad" in node.attributes:
            continue
        axes = len(amounts) // 2
        old = node.attributes.get("pads")
        own = [0] * (2 * (axes - 2)) if old is None else list(old.as_ints())
        extra = [*amounts[2:axes], *amounts[axes + 2 :]]
        node.attributes["pads"] = ir.AttrInt64s(
            "pads", [a + b for a, b in zip(own, extra, strict=True)]
        )
        node.replace_input_with(0, pad.inputs[0])
        graph.remove(pad, safe=True)
        yield Edit(str(node.name), f"took over the zero padding of {pad.name}")


def _sums_into_products(graph: ir.Graph) -> Iterator[Edit]:
    """Rewrite a product of matrices and the vector added to it as Gemm, as the runtime does.

    The runtime does so even between integers, and its Gemm then has a bias that no integer kernel
    takes: the weight would be stored in int8 and multiplied in float.
    """
    for add in [n for n in graph if n.op_type == "Add"]:
        found = product_and_bias(add)
        if found is None:
            continue
        product, bias = found
        if rank(product.inputs[0]) != 2 or rank(bias) not in {1, 2}:
            continue
        gemm = ir.node("Gemm", [*product.inputs, bias], name=product.name)
        _replace(graph, add, [gemm])
        graph.remove(product, safe=True)
        yield Edit(str(gemm.name), f"took over the vector that {add.name} added")


def _zero_pads(pad: ir.Node) -> list[int] | None:
    """Return begins and ends of every axis when ``pad`` adds zeros to spatial axes alone."""
    mode = pad.attributes.get("mode")
    amounts = constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    fill = pad.inputs[2] if len(pad.inputs) > 2 else None
    zeros = constant(fill)
    axes = pad.inputs[3] if len(pad.inputs) > 3 else None
    if amounts is None or axes is not None or (mode is not None and mode.as_string() != "constant"):
        return None
    if fill is not None and (zeros is None or np.any(zeros)):
        return None
    listed = [int(amount) for amount in amounts]
    count = len(listed) // 2
    outer = [*listed[:2], *listed[count : count + 2]]
    return None if any(outer) or min(listed) < 0 else listed


def _axes(node: ir.Node) -> list[int] | None:
    if (found := node.attributes.get("axes")) is not None:
        return list(found.as_ints())
    values = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if values is None else [int(axis) for axis in values]


def _describe(node: ir.Node, name: str, like: ir.Value | None, spatial: tuple[int, int]) -> None:
    out = node.outputs[0]
    out.name = name
    if like is not None:
        out.type = like.type
        out.shape = None if like.shape is None else ir.Shape([*like.shape[:2], *spatial])


def _replace(graph: ir.Graph, node: ir.Node, new: list[ir.Node]) -> None:
    """Put ``new`` where ``node`` was; the last one takes over its output."""
    old, last = node.outputs[0], new[-1].outputs[0]
    last.type, last.shape = old.type, old.shape
    name, old.name = old.name, f"{old.name}.replaced"
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, last, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    last.name = name
