import numpy as np
import pytest
import torch
from onnx import helper

from edgepack.quantization.pair_law import obeys
from edgepack.quantization.scales import quantize_weight
from edgepack.quantization.scheme import scheme_for
from edgepack.training.fake_quant import FakeQuant, WeightQuant, WeightRule
from tests import graphs

node = helper.make_node
NONE = torch.zeros(6, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "zero"), [("uint8", 0), ("uint8", 131), ("int8", -7)])
def test_activations_round_to_the_bit_as_the_runtime_rounds(kind: str, zero: int) -> None:
    scale, dtype = np.float32(0.037), np.dtype(kind)
    model = graphs.network(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"s": np.asarray(scale), "z": np.asarray(zero, dtype)},
        shape=["n"],
    )
    rng = np.random.default_rng(0)
    ties = (np.arange(-400, 400) + 0.5).astype(np.float32) * scale
    near = np.nextafter(ties, np.float32(0))
    x = np.concatenate([ties, near, rng.normal(0, 5, 5000).astype(np.float32)])
    (want,) = graphs.run(model, [{"x": x}])
    with torch.no_grad():
        got = FakeQuant(float(scale), zero, dtype)(torch.from_numpy(x))
    np.testing.assert_array_equal(got.numpy(), want["y"])


def test_gradients_worked_by_hand() -> None:
    rounding = FakeQuant(0.5, 0, np.dtype("uint8"))
    x = torch.tensor([-1.0, 0.6, 500.0], requires_grad=True)
    torch.autograd.backward(rounding(x).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 0]
    # by s: 0, round(1.2) - 1.2 and 255; by octaves times s ln 2; damped by 1 / sqrt(255)
    by_octaves = (1 - 1.2 + 255) * 0.5 * np.log(2) / np.sqrt(255)
    assert float(rounding.scale.octaves.grad or 0) == pytest.approx(by_octaves, rel=1e-6)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_under_the_pair_law_codes_are_those_of_the_writer() -> None:
    weight = drawn(6, 5, 3, 3)
    found = WeightQuant(weight, 0, WeightRule(127, per_channel=True, lawful=True))
    written = quantize_weight(
        weight.numpy(), 0, scheme_for(graphs.SCHEMES["u8s8-pair"]), np.zeros(6)
    )
    assert found.scale(weight, NONE).tolist() == written.scale.tolist()
    restored = written.codes * written.scale.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(found(weight, found.scale(weight, NONE)).numpy(), restored)
    assert not list(found.parameters())


@pytest.mark.parametrize(("limit", "lawful"), [(127, False), (63, True), (7, True)])
def test_seven_bits_or_fewer_keep_the_pair_law_by_themselves(limit: int, *, lawful: bool) -> None:
    weight = drawn(8, 6)
    found = WeightQuant(weight, 1, WeightRule(limit, per_channel=True, lawful=False))
    with torch.no_grad():
        scale = found.scale(weight, NONE)
        codes = torch.round(found(weight, found.scale(weight, NONE)) / scale).numpy()
    assert np.abs(codes).max() <= limit
    assert obeys(codes.astype(np.int8)) == lawful


@pytest.mark.parametrize("lawful", [True, False])
def test_one_scale_for_a_tensor_is_the_same_for_all_channels(*, lawful: bool) -> None:
    weight = drawn(6, 5) * torch.arange(1, 7)[:, None]
    found = WeightQuant(weight, 0, WeightRule(127, per_channel=False, lawful=lawful))
    assert len(set(found.scale(weight, NONE).tolist())) == 1


def test_four_bits_start_from_a_clip_that_loses_less_than_the_largest_entry() -> None:
    weight = drawn(6, 400)
    found = WeightQuant(weight, 0, WeightRule(7, per_channel=True, lawful=False))
    whole = weight.abs().amax(1, keepdim=True) / 7
    by_largest = (torch.round(weight / whole) * whole - weight).square().sum()
    with torch.no_grad():
        error = (found(weight, found.scale(weight, NONE)) - weight).square().sum()
    assert error < 0.8 * by_largest


def test_a_scale_is_never_below_what_an_integer_bias_allows() -> None:
    weight, least = drawn(6, 5), torch.full((6,), 3.0, dtype=torch.float64)
    found = WeightQuant(weight, 0, WeightRule(127, per_channel=True, lawful=False))
    assert found.scale(weight, least).tolist() == [3.0] * 6
