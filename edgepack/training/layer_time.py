"""How long each layer of a network takes at any widths: a table, measured where it is asked.

Time falls in steps as channels go: kernels compute blocks of them. A table per layer sees the steps
where a count of multiply-accumulates sees a slope.
Source: Yang et al. 2018, arXiv:1804.03230 (NetAdapt), section 3.3: a look-up table per layer, whose
sum estimates the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from edgepack.export.interface import Interface
from edgepack.spec.signature import Sample
from edgepack.training.groups import LAYERS

Seconds = Callable[[bytes, Sample], float]
"""An ONNX model and what it runs on -> seconds of one run on the target."""

_OPSET, _IR = 17, 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a matrix product, by all that its time depends on.

    Attributes:
        widths: Channels in and out.
        groups: Of the convolution; of a depthwise one, its channels.
        window: Attributes of ``Conv`` as pairs; None for a matrix product.
        around: Sizes of the input besides its channels, the batch first.
    """

    widths: tuple[int, int]
    groups: int
    window: tuple[tuple[str, Any], ...] | None
    around: tuple[int, ...]

    @property
    def depthwise(self) -> bool:
        """Whether each channel has its own filter."""
        return self.groups == self.widths[0] == self.widths[1] > 1

    def narrowed(self, fewer_in: int, fewer_out: int) -> "Layer":
        """Return the layer with so many channels less."""
        into, out = self.widths[0] - fewer_in, self.widths[1] - fewer_out
        if self.depthwise:
            return replace(self, widths=(out, out), groups=out)
        return replace(self, widths=(into, out))


class Table:
    """Seconds of layers, each measured once, without what any run costs."""

    def __init__(self, seconds: Seconds) -> None:
        """Measure with ``seconds``."""
        self._seconds = seconds
        self._known: dict[Layer, float] = {}

    def __call__(self, layer: Layer) -> float:
        """Return the seconds of ``layer`` within a network."""
        if layer not in self._known:
            self._known[layer] = max(self._seconds(*single(layer)) - self._nothing, 0.0)
        return self._known[layer]

    @cached_property
    def _nothing(self) -> float:
        """Seconds of a run that computes next to nothing."""
        node = helper.make_node("Identity", ["x"], ["y"])
        return self._seconds(_model(node, (1,)), {"x": np.zeros(1, np.float32)})


def layers(face: Interface) -> Mapping[str, tuple[Layer, ...]]:
    """Return the layers that run with the example, once per call, by name."""
    found: dict[str, list[Layer]] = {}
    names: dict[nn.Module, str] = {
        m: n for n, m in face.module.named_modules() if isinstance(m, LAYERS)
    }

    def see(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        found.setdefault(names[module], []).append(_layer(module, given[0].shape))

    hooks = [module.register_forward_pre_hook(see) for module in names]
    try:
        with torch.no_grad():
            face.call([tensor.clone() for tensor in face.example])
    finally:
        for hook in hooks:
            hook.remove()
    return {name: tuple(calls) for name, calls in found.items()}


def _layer(module: nn.Module, shape: torch.Size) -> Layer:
    if isinstance(module, nn.Linear):
        return Layer((module.in_features, module.out_features), 1, None, tuple(shape[:-1]))
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    sides: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
    if not isinstance(module.padding, str):
        sides = {"pads": tuple(module.padding) * 2}
    elif module.padding == "valid":
        sides = {}
    window = {
        "kernel_shape": tuple(module.kernel_size),
        "strides": tuple(module.stride),
        "dilations": tuple(module.dilation),
        **sides,
    }
    widths = (module.in_channels, module.out_channels)
    return Layer(widths, module.groups, tuple(window.items()), (shape[0], *shape[2:]))


def single(layer: Layer) -> tuple[bytes, Sample]:
    """Return an ONNX model of the layer alone, with seeded weights, and a sample for it."""
    rng = np.random.default_rng(0)
    into, out = layer.widths
    if layer.window is None:
        shape, weight = (*layer.around, into), rng.standard_normal((into, out))
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
    else:
        window = dict(layer.window)
        shape = (layer.around[0], into, *layer.around[1:])
        weight = rng.standard_normal((out, into // layer.groups, *window["kernel_shape"]))
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=layer.groups, **window)
    sample = rng.standard_normal(shape).astype(np.float32)
    return _model(node, shape, numpy_helper.from_array(weight.astype(np.float32), "w")), {
        "x": sample
    }


def _model(node: NodeProto, shape: tuple[int, ...], *weights: TensorProto) -> bytes:
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        weights,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    return bytes(model.SerializeToString())
