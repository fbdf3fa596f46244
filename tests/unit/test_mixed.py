"""Mixed precision: what is priced, what goes up first, how far, and what is left alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import pytest

from edgepack.base.errors import RequestError
from edgepack.bench.price import Price
from edgepack.data.samples import open_dataset
from edgepack.gate.alone import alone
from edgepack.gate.candidates import Candidate, Rewritten, rewrite
from edgepack.gate.mixed import Ladder, Mixer
from edgepack.gate.sensitivity import Layer, Sensitivity, encode, load
from edgepack.gate.terms import Terms
from edgepack.graph.census import signature
from edgepack.graph.precision import integer_nodes, precisions
from edgepack.graph.write import to_bytes
from edgepack.passes.mixed_precision import MixedPrecision
from edgepack.plan import plan
from edgepack.runtime.session import Options, Session
from edgepack.spec import target
from edgepack.spec.recipe import Recipe
from edgepack.spec.step import Skip
from edgepack.spec.target import Int8, Target
from tests import graphs, zoo
from tests.convolutions import residual
from tests.graphs import items, samples

EIGHT = graphs.target(Int8(activations="uint8"), float16=False)
WORDS = msgspec.structs.replace(EIGHT, int16=True)
"""Kernels of 16-bit activations: no target that is built in has them."""


def _rewritten(
    model: ir.Model, place: Target | None = None, use: str = "quantize_static", **fields: object
) -> Rewritten:
    face = signature(model)
    steps: list[dict[str, object]] = [{"use": "tidy"}, {"use": "fold_batchnorm"}, {"use": use}]
    if use == "quantize_dynamic":
        steps[-1]["min_size"] = 1
    recipe = Recipe(name="short", graph=(*steps, {"use": "mixed_precision", **fields}))
    calibration = open_dataset(samples(model), face, labelled=False)
    return rewrite(plan(recipe, place or target.load("x86_64")), model, face, calibration)


def _mixer(made: Rewritten, said: list[str] | None = None, price: Price | None = None) -> Mixer:
    heard = [] if said is None else said
    return Mixer(made, Terms(price=price), Options(exact=True), heard.append, heard.append)


def _at_least(decibels: float, made: Rewritten) -> Callable[[Candidate], bool]:
    """Return a gate of signal over noise on the samples of calibration, so that nothing clips."""
    few = samples(made.float_.model)
    want = graphs.run(made.float_.model, few)

    def passes(candidate: Candidate) -> bool:
        got = graphs.run(candidate.model, few, Options(exact=True))
        return graphs.sqnr(want, got, "y") >= decibels

    return passes


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def made() -> Rewritten:
    return _rewritten(residual())


@pytest.mark.parametrize(
    ("model", "use"),
    [
        (residual, "quantize_static"),
        (zoo.attention, "quantize_static"),
        (zoo.attention, "quantize_dynamic"),
        (zoo.lstm, "quantize_dynamic"),
    ],
)
def test_a_node_alone_computes_what_it_does_in_its_network(
    model: Callable[[], ir.Model], use: str
) -> None:
    whole = _rewritten(model(), use=use).candidates[0].model
    sample = samples(whole, 1, seed=3)[0]
    nodes = integer_nodes(whole)
    parts = alone(whole, nodes, sample)
    assert list(parts) == list(nodes) != []
    for data, fed in parts.values():
        got = Session(data).run(fed)
        draft = ir.from_proto(ir.to_proto(whole))
        values = {v.name: v for node in draft.graph for v in node.outputs}
        for name in got:
            if not values[name].is_graph_output():
                values[name].type = values[name].type or ir.TensorType(ir.DataType.FLOAT)
                draft.graph.outputs.append(values[name])
        want = Session(to_bytes(draft)).run(sample)
        assert all(np.array_equal(got[name], want[name]) for name in got)


def test_as_few_nodes_as_the_gate_needs_go_up_and_one_more(made: Rewritten) -> None:
    said: list[str] = []
    passes = _at_least(45.0, made)
    assert not passes(made.candidates[0])
    found = _mixer(made, said).select(items(samples(made.float_.model, seed=5)), passes, ())
    assert found is not None
    assert passes(found)
    assert (
        found.name
        == f"mixed: {3 - len(found.spared)} nodes in int8, {len(found.spared)} in float32"
    )
    assert "noise alone, no price is known" in " ".join(said)
    assert "int16 is passed over: x86_64 has no kernels that gain by it" in said


def test_what_was_barred_or_can_never_pass_is_not_selected(made: Rewritten) -> None:
    few = items(samples(made.float_.model, seed=5))
    assert _mixer(made).select(few, lambda _: False, ()) is None


def test_an_earlier_selection_is_taken_as_it_was(made: Rewritten) -> None:
    old = {"mixed: 2 nodes in int8, 1 in float32": {"conv1": "float32"}}
    mixer = replace(_mixer(made), terms=Terms(replayed={}, mixed=old))
    found = mixer.select([], lambda _: False, ())
    assert found is not None
    assert (found.name, dict(found.spared)) == next(iter(old.items()))
    assert mixer.select([], lambda _: True, set(old)) is None


@pytest.mark.parametrize("first", ["conv1", "conv2", "gemm"])
def test_the_file_says_who_goes_up_first(made: Rewritten, tmp_path: Path, first: str) -> None:
    nodes, file = integer_nodes(made.candidates[0].model), tmp_path / "edited.toml"
    layers = {name: Layer(float("inf") if name == first else 0.0) for name in nodes}
    file.write_bytes(encode(Sensitivity(layers)))
    mixer = _mixer(_rewritten(residual(), sensitivity=str(file)))
    found = mixer.select(items(samples(residual())), lambda each: len(each.spared) == 1, ())
    assert found is not None
    assert list(found.spared) == [first]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[layers."conv1"]\nnoise = 1', "'conv2' is missing"),
        ('[layers."conf1"]\nnoise = 1', "'conf1' is no integer node"),
        ('[layers."conv1"]\nnoise = -1', "from 0 on"),
        ('[layers."conv1"]\nnoise = nan', "from 0 on"),
        ('[layers."conv1"]\nnoize = 1', "noize"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(RequestError, match=told):
        load(tmp_path / "s.toml", ("conv1", "conv2"))


def test_a_file_reads_back_as_it_was(tmp_path: Path) -> None:
    kept = Sensitivity(
        {'a "b"\\c': Layer(1.25e-4, {"int8": 1e-5, "float32": 2e-5}), "é": Layer(0.0)}
    )
    (tmp_path / "s.toml").write_bytes(encode(kept))
    assert load(tmp_path / "s.toml", tuple(kept.layers)) == kept


def test_what_is_measured_once_is_taken_from_the_cache(made: Rewritten, tmp_path: Path) -> None:
    few = items(samples(made.float_.model, seed=5))
    said: list[str] = []
    _mixer(made, said, Price()).select(few, lambda _: True, ())
    (file,) = (tmp_path / "sensitivity").iterdir()
    nodes = integer_nodes(made.candidates[0].model)
    layers = load(file, nodes).layers
    assert all(layer.noise > 0 for layer in layers.values())
    assert all(set(layer.seconds) == {"int8", "float32"} for layer in layers.values())
    assert str(file) in said[-2]
    again: list[str] = []
    _mixer(made, again, Price()).select(few, lambda _: True, ())
    assert again == [*said[:2], *said[-2:]]


def test_nodes_go_up_one_by_one_through_each_precision() -> None:
    ladder = Ladder(("a", "b"), ("int16", "float32"), {"a": Layer(1.0), "b": Layer(1.0)})
    assert [ladder.rung(count) for count in range(len(ladder) + 1)] == [
        {},
        {"a": "int16"},
        {"a": "int16", "b": "int16"},
        {"a": "float32", "b": "int16"},
    ]


def test_a_precision_that_takes_as_long_as_a_wider_one_is_passed_over() -> None:
    slow = Layer(1.0, {"int8": 1.0, "int16": 3.0, "float32": 3.0})
    fast = Layer(1.0, {"int8": 1.0, "int16": 2.0, "float32": 3.0})
    ladder = Ladder(("a", "b"), ("int16", "float32"), {"a": slow, "b": fast})
    assert ladder.rung(2) == {"a": "float32", "b": "int16"}


def test_sixteen_bits_are_much_closer_than_eight_where_kernels_take_them() -> None:
    made = _rewritten(_exact_weights(), WORDS)
    words = made.refold(dict.fromkeys(integer_nodes(made.candidates[0].model), "int16"))
    assert precisions(words.model)["Conv"] == {"int16": 2}
    assert words.name == "int16"
    assert not words.left
    assert _at_least(80.0, made)(words)  # 8 bits more are 48 dB more
    assert not _at_least(60.0, made)(made.candidates[0])
    one = made.refold({"conv2": "int16"})
    assert precisions(one.model)["Conv"] == {"int8": 1, "int16": 1}
    assert not _at_least(60.0, made)(one)


def _exact_weights() -> ir.Model:
    """Return two convolutions whose weights are codes of 8 bits, so that only activations round."""
    rng = np.random.default_rng(0)
    codes = {
        "w1": rng.integers(-127, 128, (8, 3, 3, 3)),
        "w2": rng.integers(-127, 128, (4, 8, 1, 1)),
    }
    for array in codes.values():
        array[:, 0, 0, 0] = 127
    return graphs.network(
        [
            graphs.node("Conv", ["x", "w1"], ["c"], name="conv1"),
            graphs.node("Relu", ["c"], ["r"], name="relu"),
            graphs.node("Conv", ["r", "w2"], ["y"], name="conv2"),
        ],
        {name: (array / 1024).astype(np.float32) for name, array in codes.items()},
        opset=21,
    )


def test_sixteen_bits_are_left_out_below_the_opset_that_has_them() -> None:
    made = _rewritten(residual(), WORDS)
    one = made.refold({"conv2": "int16"})
    assert one.left["conv2"]
    assert precisions(one.model)["Conv"] == {"float32": 1, "int8": 1}


def test_a_target_without_what_is_asked_for_skips_it() -> None:
    assert isinstance(MixedPrecision().fit(graphs.target(None)), Skip)
    assert isinstance(MixedPrecision(("int8", "int16")).fit(EIGHT), Skip)
    assert MixedPrecision().wider(EIGHT) == ("float32",)
    assert MixedPrecision().wider(WORDS) == ("int16", "float32")


@pytest.mark.parametrize("wrong", [("int8",), ("float32", "int8"), ("int16", "float32"), ()])
def test_precisions_go_up_from_int8(wrong: tuple[str, ...]) -> None:
    recipe = Recipe(name="r", graph=({"use": "mixed_precision", "precisions": wrong},))
    with pytest.raises(RequestError, match="go up from int8"):
        plan(recipe, EIGHT)
