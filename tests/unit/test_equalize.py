"""Cross-layer equalization: exact in float, and what it saves in int8."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.graph.chains import links
from edgepack.graph.constants import constant
from edgepack.passes import PassReport, apply
from edgepack.passes.equalize import Equalize
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.runtime.session import Options
from tests import convolutions, graphs
from tests.models import weight

node = helper.make_node
Reals = npt.NDArray[np.float32]
C = 8


def factors(octaves: float = 4.0, channels: int = C, seed: int = 3) -> Reals:
    """Return factors spread over twice ``octaves``, none a power of two."""
    drawn = np.random.default_rng(seed).uniform(-octaves, octaves, channels)
    drawn[:2] = octaves, -octaves
    return np.asarray(np.exp2(drawn), np.float32)


def chain(between: Sequence[onnx.NodeProto], kind: str = "depthwise") -> ir.Model:
    """Return Conv, ``between`` from ``c`` to ``d``, a second layer; channels out of balance."""
    off = factors()
    end = {
        "depthwise": node("Conv", ["d", "w2"], ["y"], group=C, pads=[1, 1, 1, 1], name="second"),
        "grouped": node("Conv", ["d", "w2"], ["y"], group=2, pads=[1, 1, 1, 1], name="second"),
        "dense": node("Conv", ["d", "w2"], ["y"], pads=[1, 1, 1, 1], name="second"),
    }[kind]
    second = {
        "depthwise": weight(C, 1, 3, 3, seed=2) / off[:, None, None, None],
        "grouped": weight(6, C // 2, 3, 3, seed=2)
        / np.repeat(off.reshape(2, -1), 3, axis=0)[:, :, None, None],
        "dense": weight(5, C, 3, 3, seed=2) / off[None, :, None, None],
    }[kind]
    return graphs.network(
        [node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1], name="first"), *between, end],
        {
            "w1": weight(C, 3, 3, 3) / 5 * off[:, None, None, None],
            "b1": weight(C, seed=1) * off,
            "w2": second,
            "six": np.array(6, np.float32),
            "zero": np.array(0, np.float32),
        },
    )


def equalized(model: ir.Model) -> tuple[ir.Model, PassReport]:
    return apply(Equalize(), "equalize", model, graphs.context(None, []))


RELU = [node("Relu", ["c"], ["d"], name="relu")]


@pytest.mark.parametrize("kind", ["depthwise", "grouped", "dense"])
@pytest.mark.parametrize(
    "between",
    [
        RELU,
        [node("Clip", ["c", "zero"], ["d"], name="clip")],
        [node("LeakyRelu", ["c"], ["e"]), node("MaxPool", ["e"], ["d"], kernel_shape=[2, 2])],
        [node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2])],
    ],
)
def test_outputs_stay_the_same_bit_for_bit(kind: str, between: list[onnx.NodeProto]) -> None:
    model = chain(between, kind)
    after, report = equalized(model)
    assert [edit.where for edit in report.edits] == ["first"]
    listed = graphs.samples(model)
    for a, b in zip(graphs.run(model, listed), graphs.run(after, listed), strict=True):
        np.testing.assert_array_equal(a["y"], b["y"])


@pytest.mark.parametrize("kind", ["depthwise", "grouped", "dense"])
def test_channels_end_within_an_octave_of_balance(kind: str) -> None:
    after, _ = equalized(chain(RELU, kind))
    [link] = links(after.graph)
    first, second = constant(link.first.inputs[1]), constant(link.second.inputs[1])
    assert first is not None
    assert second is not None
    wrote = np.log2(np.abs(first).reshape(C, -1).max(axis=1))
    groups = {"depthwise": C, "grouped": 2, "dense": 1}[kind]
    inputs = np.abs(second).reshape(groups, -1, C // groups, 9).max(axis=(1, 3)).reshape(-1)
    # rounding to powers of two leaves half an octave on each side, and the median as it was
    apart = wrote - np.log2(inputs)
    assert np.ptp(apart) <= 2.0


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_flattened_channel_is_taken_back_at_each_of_its_positions(transposed: int) -> None:
    off = factors()
    second = weight(C * 4, 5, seed=2) / np.repeat(off, 4)[:, None]
    model = graphs.network(
        [
            node("Conv", ["x", "w1"], ["c"], name="first"),
            node("Relu", ["c"], ["r"], name="relu"),
            node("Flatten", ["r"], ["f"], name="flatten"),
            node("Gemm", ["f", "w2"], ["y"], transB=transposed, name="second"),
        ],
        {
            "w1": weight(C, 3, 3, 3) * off[:, None, None, None],
            "w2": second.T if transposed else second,
        },
        shape=["batch", 3, 4, 4],
    )
    after, report = equalized(model)
    assert [edit.where for edit in report.edits] == ["first"]
    listed = graphs.samples(model)
    for a, b in zip(graphs.run(model, listed), graphs.run(after, listed), strict=True):
        np.testing.assert_array_equal(a["y"], b["y"])


def test_a_clamp_at_six_is_left_alone_with_its_reason() -> None:
    model = chain([node("Clip", ["c", "zero", "six"], ["d"], name="relu6")])
    after, report = equalized(model)
    assert [(edit.where, edit.left) for edit in report.edits] == [("first to second", True)]
    assert report.edits[0].what == (
        "not equalized: relu6 clips at 6, which does not scale with a channel"
    )
    assert graphs.operators(after) == graphs.operators(model)


def test_a_tensor_that_others_read_is_left_alone() -> None:
    twice = [node("Relu", ["c"], ["d"], name="relu"), node("Sigmoid", ["c"], ["s"])]
    model = chain(twice)
    assert not list(links(model.graph))
    assert not equalized(model)[1].edits


def test_dead_channels_survive() -> None:
    model = chain(RELU, "dense")
    for name, rows in (("w1", np.s_[2]), ("w2", np.s_[:, 5])):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array[rows] = 0
        value.const_value = ir.tensor(array, name=name)
    after, report = equalized(model)
    assert report.edits
    outputs = graphs.run(after, graphs.samples(model))
    assert all(np.isfinite(run["y"]).all() for run in outputs)


def test_a_net_in_balance_is_not_touched() -> None:
    assert not equalized(convolutions.residual())[1].edits


def test_int8_of_an_unbalanced_depthwise_net_is_rescued() -> None:
    model = chain(RELU)
    listed = graphs.samples(model, 8)
    want = graphs.run(model, listed)
    found = []
    for each in (model, equalized(model)[0]):
        context = graphs.context(graphs.SCHEMES["u8s8"], listed)
        made, _ = apply(QuantizeStatic(), "quantize_static", each, context)
        got = graphs.run(made, listed, Options(exact=True))
        # each channel by itself: the large ones hide the small ones in one sum
        real, rounded = (np.stack([run["y"] for run in runs]).astype(float) for runs in (want, got))
        noise, power = np.square(rounded - real), np.square(real)
        axes = (0, 1, 3, 4)
        found.append(10 * np.log10(power.sum(axes) / noise.sum(axes)).min())
    assert found[1] > 25 > found[0] + 10
