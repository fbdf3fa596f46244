"""Quantization-aware training: the rounding of the target stands in the network while it trains.

The module is exported, batch norms are folded and ``quantize_static`` writes its pairs as for the
target, from measured ranges; that graph, weights in float behind the rounding, is what trains.
``quantize_static`` then takes the scales that were learned.

Sources: Jacob et al. 2018, arXiv:1712.05877, section 3 (training with simulated quantization);
Esser et al. 2020, arXiv:1902.08153 (learned step sizes); see ``training.fake_quant``.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgepack.base.errors import ModelError
from edgepack.compress import Context
from edgepack.spec.step import Skip
from edgepack.spec.target import Target
from edgepack.training.settings import Trained

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

    from edgepack.training.rounders import Rounding
    from edgepack.training.twin import RoundedTwin


class Qat(Trained, frozen=True):
    """Train weights and scales for the rounding of the target; the last ``[[compress]]`` step.

    What has the best score on the selection split is kept, the ranges that calibration measured
    included. Weights that are exactly 0 stay so. Activations have 8 bits.

    Attributes:
        bits: Of weights. At 8, scales obey the pair law where the target saturates and are not
            learned there; at 7 every weight keeps it. 4 is simulated: codes of +-7 in int8.
        scales: Whether each output channel of a weight has its own, or all have one.
    """

    bits: Literal[4, 7, 8] = 8
    scales: Literal["channel", "tensor"] = "channel"
    asks_target: ClassVar[bool] = True
    rounds: ClassVar[bool] = True

    def fit(self, target: Target) -> Self | Skip:
        """Skip where nothing will be rounded."""
        if target.int8 is None:
            return Skip("qat", f"{target.name} has no integer kernels that pay")
        return self

    def train(self, module: "nn.Module", ctx: Context) -> "Generator[str, None, nn.Module]":
        """Return the rounded twin of ``module``, trained."""
        from dataclasses import replace

        from edgepack.export.interface import bind
        from edgepack.training.loop import Plan, hard, train
        from edgepack.training.masks import hold, zeros

        frozen = _frozen(module)
        face = bind(module, ctx.example)
        example = dict(zip(face.names, face.example, strict=True))
        twin = self._twin(module, example, ctx)
        if frozen:
            yield f"{frozen} frozen parameters train too: rounding moves every weight"
        yield f"{len(twin.rounders.weights)} layers and {len(twin.rounders.tensors)} ranges train"
        if self.bits == 4:
            yield "4-bit weights are simulated: codes of +-7, kept as int8"
        masks = zeros(twin)
        plan = Plan(hard(ctx.loss), after=lambda _done, _all: hold(masks))
        # as the only argument: the twin takes a dictionary, whatever the module took
        task = replace(ctx, example=(example,)).task("qat", twin, self)
        yield train(task, self, plan)
        return twin

    def _twin(
        self, module: "nn.Module", example: "dict[str, Tensor]", ctx: Context
    ) -> "RoundedTwin":
        """Return what trains: it computes what ``module`` computes, but for the rounding."""
        from edgepack.training.twin import RoundedTwin, compare

        assert ctx.write is not None, "the build binds it where a step rounds"
        rounding = self.rounding(ctx.write(module), ctx.target)
        compare(rounding.model, example)
        twin = RoundedTwin(rounding)
        if not twin.rounders.weights:
            raise ModelError(
                "E-QAT",
                "no layer of the module computes on integers: there is no rounding to train for",
                hint="edgepack build --recipe int8 says of each node why it stays in float",
            )
        return twin

    def rounding(self, graphs: "tuple[ir.Model, ir.Model]", target: Target) -> "Rounding":
        """Return how ``target`` rounds a network.

        Args:
            graphs: Its float graph before and after ``quantize_static``.
            target: One with integer kernels.

        Raises:
            ModelError: The batch of the graph is fixed.
        """
        from edgepack.quantization.scheme import scheme_for
        from edgepack.training.rounders import Rounding

        assert target.int8 is not None, "fit() skips such targets"
        model, written = graphs
        for value in model.graph.inputs:
            if value.shape is not None and value.shape.rank() and isinstance(value.shape[0], int):
                raise ModelError(
                    "E-QAT",
                    f"input {value.name!r} has a fixed batch of {value.shape[0]}, and qat trains "
                    "the exported graph in batches",
                    hint=f'edgepack.toml: [model] dynamic = {{{value.name} = ["batch"]}}',
                )
        limit = {8: 127, 7: 63, 4: 7}[self.bits]
        scheme = scheme_for(target.int8)
        return Rounding(model, written, scheme, limit, self.scales == "channel")


def _frozen(module: "nn.Module") -> int:
    """Return how many parameters are frozen.

    Raises:
        ModelError: All are.
    """
    frozen = [not parameter.requires_grad for parameter in module.parameters()]
    if all(frozen):
        raise ModelError(
            "E-TRAIN-FROZEN",
            "qat: every parameter of the module is frozen",
            hint="requires_grad_() on what may be trained",
        )
    return sum(frozen)
