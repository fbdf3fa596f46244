import itertools
import subprocess
import sys
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.base.errors import DataError
from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.spec.signature import Sample
from tests import convolutions, graphs, zoo
from tests.models import proto, value

node = helper.make_node


def every_float(model: ir.Model) -> tuple[str, ...]:
    """Return each float tensor of the main graph but the constants."""
    made = [out for each in model.graph for out in each.outputs]
    floats = [v for v in (*model.graph.inputs, *made) if v.dtype == ir.DataType.FLOAT and v.name]
    return tuple(str(value.name) for value in floats)


def extrema(found: dict[str, Statistics]) -> dict[str, tuple[int, float, float]]:
    return {name: (seen.count, seen.low, seen.high) for name, seen in found.items()}


def tapped(model: ir.Model, names: tuple[str, ...]) -> ir.Model:
    """Return ``model`` with every named inner tensor as an output."""
    copy = ir.from_proto(ir.to_proto(model))
    made = {out.name: out for each in copy.graph for out in each.outputs}
    ends = {output.name for output in copy.graph.outputs}
    copy.graph.outputs.extend(made[name] for name in names if name in made and name not in ends)
    return copy


@pytest.mark.parametrize("name", ["residual", "lite_13", "conv1d", "transformer", "branches"])
def test_statistics_are_the_extrema_of_the_tensors_themselves(name: str) -> None:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model, 3)
    names = every_float(model)
    found = collect(model, names, graphs.items(listed), signature(model))
    runs = [
        {**s, **o} for s, o in zip(listed, graphs.run(tapped(model, names), listed), strict=True)
    ]
    for tensor in names:
        seen = np.concatenate([run[tensor].ravel() for run in runs]).astype(np.float64)
        assert found[tensor].count == 3
        # a tensor between two others is computed by another kernel when it is looked at
        np.testing.assert_allclose(
            [found[tensor].low, found[tensor].high],
            [seen.min(), seen.max()],
            rtol=1e-5,
            atol=1e-6,
        )


def test_the_extrema_of_an_input_are_exact() -> None:
    model = zoo.linear()
    listed = graphs.samples(model, 4)
    seen = np.concatenate([sample["x"].ravel() for sample in listed]).astype(np.float64)
    found = collect(model, ("x",), graphs.items(listed), signature(model))
    assert extrema(found) == {"x": (4, float(seen.min()), float(seen.max()))}


@pytest.mark.parametrize("cuts", [(1,), (3, 4), (2, 5, 6)])
def test_any_split_of_the_data_merges_to_the_same(cuts: tuple[int, ...]) -> None:
    model = convolutions.residual()
    items = graphs.items(graphs.samples(model, 7))
    names = every_float(model)
    whole = collect(model, names, items, signature(model))
    edges = [0, *cuts, len(items)]
    parts = [items[a:b] for a, b in itertools.pairwise(edges)]
    runs = [collect(model, names, part, signature(model)) for part in reversed(parts)]
    assert {name: reduce(add, (run[name] for run in runs)) for name in names} == whole


def test_sequences_carry_their_state_and_start_anew() -> None:
    model = graphs.read(
        proto(
            [node("Add", ["h", "x"], ["hn"], name="add"), node("Neg", ["hn"], ["y"], name="neg")],
            inputs=[value("x", [1, 1]), value("h", [1, 1])],
            outputs=[value("y", [1, 1]), value("hn", [1, 1])],
        )
    )
    carried = signature(model, {"hn": "h"})

    def sequence(*values: float) -> Item:
        return Item(tuple({"x": np.full((1, 1), x, np.float32)} for x in values), (), 0)

    found = collect(model, ("h", "y"), [sequence(1, 2, 3), sequence(-5, 1)], carried)
    assert extrema(found) == {"h": (5, -5, 3), "y": (5, -6, 5)}


def test_the_model_is_left_as_it_is() -> None:
    model = convolutions.residual()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    collect(model, every_float(model), graphs.items(graphs.samples(model, 1)), signature(model))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def logarithm(*values: float) -> tuple[ir.Model, list[Sample]]:
    model = graphs.network(
        [node("Log", ["x"], ["l"], name="log"), node("Relu", ["l"], ["y"], name="relu")],
        {},
        shape=["n"],
    )
    return model, [{"x": np.array(values, np.float32)}]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", [-1.0, 0.0, np.inf], ids=["nan", "minus infinity", "infinity"])
def test_a_tensor_that_is_not_finite_is_refused_wherever_it_is_so(bad: float, place: int) -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    values[place] = bad
    model, listed = logarithm(*values)
    good = logarithm(1, 2)[1]
    with pytest.raises(
        DataError, match="tensor 'l' is not finite on calibration sample 1"
    ) as caught:
        collect(model, ("l",), graphs.items([*good, *listed]), signature(model))
    assert (caught.value.code, caught.value.exit_code) == ("E-CAL-RANGE", 4)


def test_no_data_is_refused() -> None:
    model = zoo.linear()
    with pytest.raises(DataError) as caught:
        collect(model, ("x",), [], signature(model))
    assert caught.value.code == "E-CAL-EMPTY"


def test_no_tensors_need_no_data() -> None:
    model = zoo.linear()
    assert collect(model, (), iter(()), signature(model)) == {}


PEAK = """
import resource, sys, tracemalloc
import numpy as np
from edgepack.calibration.collect import collect
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from tests import convolutions, graphs, zoo
from tests.models import weight

model = graphs.network(
    [graphs.node("Conv", ["x", "w"], ["c"]), graphs.node("Relu", ["c"], ["y"])],
    {"w": weight(16, 3, 3, 3)},
    shape=[1, 3, 128, 128],
)

def items(count):
    rng = np.random.default_rng(0)
    for index in range(count):
        yield Item(({"x": rng.random((1, 3, 128, 128), np.float32)},), (), index)

names = ("x", "c", "y")
counted = sys.argv[2] == "histograms"
collect(model, names, items(4), signature(model), histograms=counted)
tracemalloc.start()
collect(model, names, items(int(sys.argv[1])), signature(model), histograms=counted)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, tracemalloc.get_traced_memory()[1])
"""
"""One sample's activations are 2 MB: kept, they would be 1 GB at 512 samples."""


@pytest.mark.parametrize(
    ("kind", "counts"),
    # codes wait to be counted, 16 MiB of them at most: about 700 of these samples
    [("extrema", (32, 512)), ("histograms", (1536, 3072))],
)
def test_memory_does_not_grow_with_samples(kind: str, counts: tuple[int, int]) -> None:
    peaks = []
    for count in counts:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(count), kind],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        peaks.append([int(number) for number in done.stdout.split()])
    for few, many in zip(*peaks, strict=True):
        assert many < 1.1 * few
