import dataclasses
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from edgepack.base.errors import ModelError
from edgepack.gate.fusion import fusion
from edgepack.graph.constants import constant
from edgepack.passes import apply
from edgepack.passes.fold_batchnorm import FoldBatchnorm
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.quantization.pair_law import obeys
from edgepack.quantization.scheme import scheme_for
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from edgepack.training.rounders import Rounding
from edgepack.training.twin import RoundedTwin, compare, float_twin
from tests import convolutions, graphs, zoo

EXACT = Options(exact=True)
Make = Callable[[], ir.Model]


def tensors(sample: Sample) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in sample.items()}


def twin_of(model: ir.Model, scheme: str, limit: int, *, per_channel: bool = True) -> RoundedTwin:
    """Return a twin whose weights and scales were moved, as training moves them."""
    facts = graphs.SCHEMES[scheme]
    model, _ = apply(FoldBatchnorm(), "fold_batchnorm", model, graphs.context(facts, []))
    context = graphs.context(facts, graphs.samples(model))
    tuple(QuantizeStatic().prepare(model, context))
    written, _ = apply(QuantizeStatic(), "quantize_static", model, context)
    twin = RoundedTwin(Rounding(model, written, scheme_for(facts), limit, per_channel))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
        for parameter in twin.rounders.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return twin.eval()


def written_by(twin: RoundedTwin, scheme: str, listed: list[Sample]) -> ir.Model:
    context = graphs.context(graphs.SCHEMES[scheme], listed)
    context = dataclasses.replace(context, learned=twin.learned())
    return apply(QuantizeStatic(), "quantize_static", twin.model(), context)[0]


def far(twin: RoundedTwin, model: ir.Model, listed: list[Sample]) -> float:
    """Return the largest difference of an output, in units of the largest output."""
    with torch.no_grad():
        pairs = [
            (run[name], twin(tensors(sample))[name].numpy())
            for sample, run in zip(listed, graphs.run(model, listed, EXACT), strict=True)
            for name in run
        ]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


@pytest.mark.parametrize("limit", [127, 63, 7])
@pytest.mark.parametrize("scheme", ["u8s8-pair", "u8s8", "s8s8"])
@pytest.mark.parametrize(
    "make", [convolutions.one_channel, convolutions.grouped, convolutions.relu_output]
)
def test_the_graph_that_is_written_computes_what_was_trained_to_the_bit(
    make: Make, scheme: str, limit: int
) -> None:
    model = make()
    listed = graphs.samples(model)
    twin = twin_of(model, scheme, limit)
    assert far(twin, written_by(twin, scheme, listed), listed) == 0.0


@pytest.mark.parametrize("scheme", ["u8s8-pair", "u8s8", "s8s8"])
@pytest.mark.parametrize(
    "make", [zoo.transformer, convolutions.residual, convolutions.lite, convolutions.branches]
)
def test_where_the_end_is_in_float_sums_differ_by_their_order_alone(
    make: Make, scheme: str
) -> None:
    model = make()
    listed = graphs.samples(model)
    twin = twin_of(model, scheme, 127)
    assert far(twin, written_by(twin, scheme, listed), listed) < 2e-6


def test_a_float_bias_that_the_runtime_rounds_itself_moves_outputs_by_a_code_or_two() -> None:
    model = convolutions.residual()
    listed = graphs.samples(model)
    twin = twin_of(model, "s8s8-symmetric", 127)
    assert far(twin, written_by(twin, "s8s8-symmetric", listed), listed) < 2 / 127


@pytest.mark.parametrize("make", [convolutions.residual, convolutions.lite])
def test_the_runtime_fuses_every_pair_but_the_one_at_the_input(make: Make) -> None:
    model = make()
    listed = graphs.samples(model)
    twin = twin_of(model, "u8s8-pair", 127)
    found = fusion(written_by(twin, "u8s8-pair", listed))
    assert [each.between for each in found.left if not each.end] == []
    assert found.before == fusion(twin.rounding.written).before > 10


@pytest.mark.parametrize("limit", [127, 63])
def test_trained_weights_keep_the_pair_law(limit: int) -> None:
    model = convolutions.residual()
    twin = twin_of(model, "u8s8-pair", limit)
    written = written_by(twin, "u8s8-pair", graphs.samples(model))
    seen = 0
    for node in written.graph:
        if node.op_type == "Conv":
            restore = node.inputs[1].producer() if node.inputs[1] else None
            codes = constant(restore.inputs[0]) if restore else None
            assert codes is not None
            rows = np.moveaxis(codes, 1, -1).reshape(len(codes), -1).T
            assert obeys(rows)
            seen += 1
    assert seen > 1


def test_tensors_that_share_a_scale_share_what_is_learned() -> None:
    twin = twin_of(convolutions.moved_and_read(), "u8s8", 127)
    pairs = [n for n in twin.rounding.written.graph if n.op_type == "QuantizeLinear"]
    assert len(twin.rounders.tensors) < len(pairs)


def test_a_weight_that_two_layers_share_is_trained_once_and_rounded_for_each() -> None:
    model = zoo.shared_weight()
    twin = twin_of(model, "u8s8-pair", 127)
    assert len(twin.twin.names) < len(twin.rounders.weights) == 2
    listed = graphs.samples(model)
    assert far(twin, written_by(twin, "u8s8-pair", listed), listed) < 2e-6


def test_the_model_that_was_given_is_left_as_it_is() -> None:
    model = convolutions.residual()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    twin = twin_of(model, "u8s8", 127)
    assert ir.to_proto(twin.model()).SerializeToString(deterministic=True) != before
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_every_weight_and_every_scale_has_a_gradient() -> None:
    model = convolutions.lite()
    twin = twin_of(model, "u8s8", 127)
    outputs = twin(tensors(graphs.samples(model)[0]))
    torch.autograd.backward(sum(out.square().sum() for out in outputs.values()))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())


def test_a_node_without_a_counterpart_is_named() -> None:
    with pytest.raises(ModelError, match=r"'sin' \(Sin\) cannot be trained"):
        float_twin(zoo.nothing())


def test_a_graph_that_torch_cannot_run_is_refused_with_the_reason() -> None:
    model = convolutions.carriers()
    with pytest.raises(ModelError, match="auto_pad"):
        compare(model, tensors(graphs.samples(model)[0]))
