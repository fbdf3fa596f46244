"""Where a quantized graph rounds, read off the graph that the QDQ writer wrote, and in torch.

Nobody decides placement twice: each pair that stands in the graph becomes a rounding that learns
its scale, and tensors that share a scale there share it here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError
from edgepack.graph.constants import constant
from edgepack.graph.kernels import CARRIERS, WEIGHTED
from edgepack.quantization.learned import WeightScale
from edgepack.quantization.placement import is_depthwise, output_axis
from edgepack.quantization.scales import BIAS_LIMIT, ActivationScale
from edgepack.quantization.scheme import Scheme
from edgepack.training.fake_quant import FakeQuant, WeightQuant, WeightRule, rounded_bias
from edgepack.training.operators import OPERATORS, Attributes, Operator

_SAFE_CODE = 64
"""Largest code of weights that keep the pair law whatever stands beside them: 64 + 64 = 128."""

_PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Rounding:
    """A float graph and what a target makes of it.

    Attributes:
        model: Float, through all steps before the one that quantizes.
        written: The same graph after that step.
        scheme: The integer types.
        limit: Largest code of a weight.
        per_channel: Whether each output channel of a weight has its own scale.
    """

    model: ir.Model
    written: ir.Model
    scheme: Scheme
    limit: int = 127
    per_channel: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, ready to run.

    Attributes:
        operator: In torch.
        inputs: Names; empty for one that is left out.
        output: Name.
        attributes: Of the node.
    """

    operator: Operator
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes = field(default_factory=dict)


def plain_call(node: ir.Node) -> Call:
    """Return what stands for a node that does not round.

    Raises:
        ModelError: It has no counterpart in torch here.
    """
    outputs = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    known = node.domain in {"", "ai.onnx"} and node.op_type in OPERATORS
    if not known or outputs != [node.outputs[0]]:
        raise ModelError(
            "E-QAT",
            f"node {node.name!r} ({node.op_type}) cannot be trained through with rounding",
            hint="leave qat out: quantize_static alone needs no training",
        )
    attributes = {name: _plain(found) for name, found in node.attributes.items()}
    return Call(OPERATORS[node.op_type], _names(node), str(node.outputs[0].name), attributes)


class Rounders(nn.Module):
    """The pairs and the integer weights of a written graph."""

    def __init__(self, rounding: Rounding) -> None:
        """Start from the ranges that were written and from the float weights."""
        super().__init__()
        self._rounding = rounding
        self._float = {str(node.name): node for node in rounding.model.graph}
        self._of_scale = dict[str, FakeQuant]()
        self._of_tensor = dict[str, FakeQuant]()
        self._of_node = dict[str, WeightQuant]()
        for node in rounding.written.graph:
            if node.op_type == "QuantizeLinear":
                self._of_scale[_name(node, 1)] = self._pair(node)
            elif node.op_type in WEIGHTED and _reads_integers(node):
                self._of_node[str(node.name)] = self._weight(str(node.name))
        self.tensors = nn.ModuleList(self._of_tensor.values())
        self.weights = nn.ModuleList(self._of_node.values())

    def calls(self, node: ir.Node) -> Iterator[Call]:
        """Yield what stands for ``node`` of the written graph."""
        output = str(node.outputs[0].name)
        if node.op_type not in _PAIRS:
            yield plain_call(node)
        elif node.op_type == "QuantizeLinear":
            found = self._of_scale[_name(node, 1)]
            yield Call(_without_attributes(found.quantize), (_name(node, 0),), output)
        elif _name(node, 1) in self._of_scale:
            found = self._of_scale[_name(node, 1)]
            yield Call(_without_attributes(found.restore), (_name(node, 0),), output)
        else:
            yield from self._weight_calls(node)

    def activations(self) -> Mapping[str, ActivationScale]:
        """Return the scale of each tensor that scales follow from."""
        kind = self._rounding.scheme.activations
        return {
            name: ActivationScale(
                found.scale().detach().cpu().numpy().astype(np.float32),
                np.asarray(found.zero_point, kind),
            )
            for name, found in self._of_tensor.items()
        }

    def weight_scales(self, weights: Mapping[str, Tensor]) -> Mapping[str, WeightScale]:
        """Return the scales of each integer node, by its name, for trained ``weights``."""
        found = {}
        for name, rounder in self._of_node.items():
            weight, *bias = (weights[_name(self._float[name], i)] for i in self._trained(name))
            scale = rounder.scale(weight, self._least(name)(*bias)).detach().cpu().numpy()
            found[name] = WeightScale(scale, rounder.rule.limit)
        return found

    def _pair(self, node: ir.Node) -> FakeQuant:
        """Return the rounding of a pair: that of the pair before it, where values only move."""
        source = node.inputs[0]
        assert source is not None
        mover = source.producer()
        if mover is not None and mover.op_type in CARRIERS:
            restore = mover.inputs[0].producer() if mover.inputs[0] is not None else None
            if restore is not None and restore.op_type == "DequantizeLinear":
                return self._of_scale[_name(restore, 1)]
        step, zero = constant(node.inputs[1]), constant(node.inputs[2])
        assert step is not None
        assert zero is not None
        entries = [size for size in source.shape or () if isinstance(size, int)]
        kind = self._rounding.scheme.activations
        found = FakeQuant(float(step), int(zero), kind, int(np.prod(entries)))
        # the writer renames a tensor that ends the graph; its range goes by the old name
        self._of_tensor[str(source.name).removesuffix(".integer")] = found
        return found

    def _weight(self, name: str) -> WeightQuant:
        node, rounding = self._float[name], self._rounding
        array = constant(node.inputs[1])
        assert array is not None
        bound = rounding.scheme.pair_law and not is_depthwise(node)
        lawful = bound and rounding.limit > _SAFE_CODE
        rule = WeightRule(rounding.limit, rounding.per_channel, lawful)
        return WeightQuant(torch.from_numpy(array.copy()), output_axis(node), rule)

    def _weight_calls(self, restore: ir.Node) -> Iterator[Call]:
        """Yield the rounding of a weight or of a bias, which uses the scale of the weight."""
        ((node, index),) = restore.outputs[0].uses()
        name, output = str(node.name), str(restore.outputs[0].name)
        source, scale = _name(self._float[name], index), f"{name} scale of the weight"
        if index == 2:
            step = self._input(name)
            call: Operator = lambda _at, bias, scale: rounded_bias(bias, scale, step.scale())  # noqa: E731
            yield Call(call, (source, scale), output)
            return
        rounder, least = self._of_node[name], self._least(name)
        trained = tuple(_name(self._float[name], i) for i in self._trained(name))
        yield Call(lambda _at, w, *b: rounder.scale(w, least(*b)), trained, scale)
        yield Call(_without_attributes(rounder), (source, scale), output)

    def _trained(self, name: str) -> tuple[int, ...]:
        """Return which inputs of a float node are its weight and, where it has one, its bias."""
        inputs = self._float[name].inputs
        return (1, 2) if len(inputs) > 2 and inputs[2] is not None else (1,)

    def _least(self, name: str) -> Operator:
        """Return what bounds a weight scale from below; see ``scales.least_scales``."""
        step = self._input(name)

        def least(bias: Tensor | None = None) -> Tensor:
            scale: Tensor = step.scale().detach().double()
            if bias is None:
                return torch.zeros(1, dtype=torch.float64, device=scale.device)
            return bias.detach().double().reshape(-1).abs() / (scale * BIAS_LIMIT)

        return least

    def _input(self, name: str) -> FakeQuant:
        """Return the rounding in front of an integer node."""
        (node,) = [node for node in self._rounding.written.graph if node.name == name]
        restore = None if node.inputs[0] is None else node.inputs[0].producer()
        assert restore is not None, "every integer node reads a restored tensor"
        return self._of_scale[_name(restore, 1)]


def _reads_integers(node: ir.Node) -> bool:
    maker = None if node.inputs[1] is None else node.inputs[1].producer()
    return maker is not None and maker.op_type == "DequantizeLinear"


def _without_attributes(call: Operator) -> Operator:
    return lambda _at, *inputs: call(*inputs)


def _names(node: ir.Node) -> tuple[str, ...]:
    return tuple("" if value is None else str(value.name) for value in node.inputs)


def _name(node: ir.Node, index: int) -> str:
    return _names(node)[index]


def _plain(found: ir.Attr) -> object:
    return found.value.decode() if isinstance(found.value, bytes) else found.value
