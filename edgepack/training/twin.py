"""A graph as a torch module with its weights as parameters, float or with its rounding."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError
from edgepack.export.faults import RAISED, reason
from edgepack.graph.constants import constant
from edgepack.graph.copying import private_copy
from edgepack.graph.kernels import WEIGHTED
from edgepack.graph.write import to_bytes
from edgepack.quantization.learned import Learned
from edgepack.runtime.session import Session
from edgepack.training.rounders import Call, Rounders, Rounding, plain_call

_FAR = 1e-3
"""Of the largest output: sums of floats in another order move outputs by 1e-6 to 1e-4 of it."""


class Twin(nn.Module):
    """``forward({input: tensor}) -> {output: tensor}``.

    Weights and biases of convolutions and matrix products are parameters; all else is constant,
    batch norms that could not be folded included.
    """

    def __init__(
        self, graph: ir.Graph, weights: Mapping[str, Tensor], calls: Sequence[Call]
    ) -> None:
        """Take over the constants of ``graph``, with ``weights`` in the place of some."""
        super().__init__()
        self.names = tuple(weights)
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights.values())
        self._constants = dict[str, str]()
        for name, value in graph.initializers.items():
            array = constant(value)
            if array is not None and name not in weights:
                self._constants[name] = key = f"constant{len(self._constants)}"
                self.register_buffer(key, torch.from_numpy(array.copy()), persistent=False)
        self._outputs = tuple(str(value.name) for value in graph.outputs)
        self._calls = tuple(zip(calls, _last_reads(calls, self._outputs), strict=True))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run every call, in order."""
        known: dict[str, Tensor | None] = {"": None, **inputs}
        known |= zip(self.names, self.weights, strict=True)
        known |= {name: self.get_buffer(key) for name, key in self._constants.items()}
        for call, over in self._calls:
            given = [known[name] for name in call.inputs]
            known[call.output] = call.operator(call.attributes, *given)
            for name in over:
                del known[name]
        return {name: found for name in self._outputs if (found := known[name]) is not None}

    def values(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return {name: p.detach() for name, p in zip(self.names, self.weights, strict=True)}


def float_twin(model: ir.Model) -> Twin:
    """Return a float graph in torch.

    Raises:
        ModelError: A node has no counterpart in torch here.
    """
    calls = [plain_call(node) for node in model.graph]
    return Twin(model.graph, weights_of(model.graph), calls)


class RoundedTwin(nn.Module):
    """A graph as its target rounds it, trained for that."""

    def __init__(self, rounding: Rounding) -> None:
        """Start from float weights and measured ranges."""
        super().__init__()
        self.rounding = rounding
        self.rounders = Rounders(rounding)
        graph = rounding.written.graph
        calls = [call for node in graph for call in self.rounders.calls(node)]
        self.twin = Twin(graph, weights_of(rounding.model.graph), calls)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return outputs as rounded."""
        found: dict[str, Tensor] = self.twin(inputs)
        return found

    def learned(self) -> Learned:
        """Return the scales that belong to the weights."""
        with torch.no_grad():
            weights = self.rounders.weight_scales(self.twin.values())
            return Learned(self.rounders.activations(), weights)

    def model(self) -> ir.Model:
        """Return the float graph with the weights as they are now."""
        copy = private_copy(self.rounding.model)
        for name, weight in self.twin.values().items():
            array = weight.cpu().numpy().copy()
            copy.graph.initializers[name].const_value = ir.tensor(array, name=name)
        return copy


def weights_of(graph: ir.Graph) -> dict[str, Tensor]:
    """Return what is trained of a float graph, by name: a weight that is shared stands once."""
    found = dict[str, Tensor]()
    for node in graph:
        for value in node.inputs[1:3] if node.op_type in WEIGHTED else ():
            array = constant(value)
            if value is not None and array is not None and array.dtype == np.float32:
                found[str(value.name)] = torch.from_numpy(array.copy())
    return found


def compare(model: ir.Model, inputs: Mapping[str, Tensor]) -> None:
    """Hold the float twin of ``model`` to the runtime on one batch.

    Raises:
        ModelError: Some operator does not run here, or computes something else.
    """
    twin = float_twin(model)
    try:
        with torch.no_grad():
            found = twin(inputs)
    except RAISED as error:
        raise ModelError(
            "E-QAT",
            f"the graph does not run in torch: {reason(error)}",
            hint="leave qat out: quantize_static alone needs no training",
        ) from error
    want = Session(to_bytes(model)).run({name: x.numpy() for name, x in inputs.items()})
    for name, array in want.items():
        far = float(np.abs(array - found[name].numpy()).max(initial=0))
        if not far <= _FAR * max(float(np.abs(array).max(initial=0)), 1e-6):
            raise ModelError(
                "E-QAT",
                f"output {name!r} of the graph in torch is off by {far:.3g}: it cannot be trained",
                hint="leave qat out: quantize_static alone needs no training",
            )


def _last_reads(calls: Sequence[Call], outputs: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield for each call the names that nobody reads after it."""
    last = {name: index for index, call in enumerate(calls) for name in call.inputs}
    for index, call in enumerate(calls):
        names = dict.fromkeys(call.inputs)
        yield tuple(n for n in names if n and last[n] == index and n not in outputs)
