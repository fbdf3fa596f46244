"""Calibration, and the passes that int8 and int4 are made of; random weights, one seed."""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import pytest
from nets import ds_cnn, plain_cnn, transformer

from edgepack import passes
from edgepack.base import registry
from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.data.made_up import made_up
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.read import parse
from edgepack.spec.target import load

NETS = {"ds_cnn": ds_cnn, "plain_cnn": plain_cnn, "transformer": transformer}
PASSES = ("tidy", "fold_batchnorm", "quantize_static", "quantize_dynamic", "quantize_weights")

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module", params=NETS)
def net(request: pytest.FixtureRequest) -> ir.Model:
    return parse(NETS[request.param]().SerializeToString(), request.param).model


def items(net: ir.Model, number: int = 4) -> list[Item]:
    return [item for seed in range(number) for item in made_up(signature(net), seed)]


def measured(net: ir.Model) -> list[str]:
    """Return the names of the float tensors that nodes make."""
    values = [value for node in net.graph for value in node.outputs]
    return [each.name or "" for each in values if each.dtype == ir.DataType.FLOAT]


@pytest.mark.parametrize("histograms", [False, True], ids=["extremes", "histograms"])
def test_collecting_statistics(benchmark: Benchmark, net: ir.Model, *, histograms: bool) -> None:
    names, data = measured(net), items(net)
    found = benchmark(collect, net, names, data, signature(net), histograms=histograms)
    assert found.keys() == set(names)


@pytest.mark.parametrize("name", PASSES)
def test_a_pass(benchmark: Benchmark, net: ir.Model, name: str) -> None:
    known: dict[tuple[str, ...], dict[str, Statistics]] = {}

    def measure(model: ir.Model, names: Sequence[str]) -> dict[str, Statistics]:
        key = tuple(names)  # collected once: its time is measured above
        if key not in known:
            known[key] = collect(model, names, items(model), signature(model))
        return known[key]

    step = registry.find("passes", name)()
    context = passes.Context(load("x86_64"), measure)
    rewritten, _ = benchmark(passes.apply, step, name, net, context)
    assert signature(rewritten) == signature(net)
