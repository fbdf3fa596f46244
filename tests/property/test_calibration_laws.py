"""Laws of histograms and ranges: any split and order give the same bits; a range is in what was."""

from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepack.base import registry
from edgepack.calibration.collect import collect
from edgepack.calibration.histogram import Histogram
from edgepack.calibration.statistics import Statistics, of
from edgepack.calibration.stored import Key, Record, decode, encode
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from tests import graphs, zoo

Values = npt.NDArray[np.float32]

METHODS = registry.names("calibration.ranges")
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
values = arrays(np.float32, st.integers(1, 40), elements=floats)
statistics = st.lists(values, max_size=4).map(
    lambda parts: reduce(add, map(of, parts), Statistics())
)


@given(statistics, statistics, statistics)
def test_statistics_with_histograms_are_a_commutative_monoid(
    a: Statistics, b: Statistics, c: Statistics
) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Statistics() == a == Statistics() + a
    assert hash(a + b) == hash(b + a)


@given(values, st.data())
def test_any_split_counts_what_the_whole_counts(whole: Values, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    parts = [of(part).histogram for part in (whole[:cut], whole[cut:]) if part.size]
    assert reduce(add, parts, Histogram()) == of(whole).histogram
    assert of(whole).histogram.total == len(whole)


@given(values)
def test_every_value_lies_in_its_bin(whole: Values) -> None:
    for value in whole:
        bins = of(np.array([value])).histogram.bins()
        assert bins.low[0] <= value <= bins.high[0]
        width = bins.high[0] - bins.low[0]
        assert width <= abs(float(value)) / 127 + np.finfo(np.float32).tiny


@given(values)
def test_bins_come_in_the_order_of_their_values(whole: Values) -> None:
    bins = of(whole).histogram.bins()
    assert (np.diff(bins.centre) > 0).all()
    assert (bins.low[1:] >= bins.high[:-1]).all()


@pytest.mark.parametrize("method", METHODS)
@given(whole=values)
def test_a_range_from_a_histogram_lies_within_what_was_seen(method: str, whole: Values) -> None:
    low, high = registry.find("calibration.ranges", method)().range(of(whole))
    assert whole.min() <= low <= high <= whole.max()


@pytest.mark.parametrize("method", METHODS)
@given(whole=values, data=st.data())
def test_a_range_does_not_depend_on_split_or_order(
    method: str, whole: Values, data: st.DataObject
) -> None:
    shuffled = np.array(data.draw(st.permutations(list(whole))), np.float32)
    cut = data.draw(st.integers(0, len(whole)))
    parts = [of(part) for part in (shuffled[cut:], shuffled[:cut]) if part.size]
    finder = registry.find("calibration.ranges", method)()
    assert finder.range(reduce(add, parts)) == finder.range(of(whole))


@given(st.dictionaries(st.text(max_size=4), values.map(of), min_size=1, max_size=3))
def test_what_is_saved_is_read_back_and_spelled_in_one_way(seen: dict[str, Statistics]) -> None:
    record = Record(Key("m", "1.32.0", "x86_64"), (b"0" * 16,), seen)
    data = encode(record)
    assert decode(data, "memory") == record
    assert encode(decode(data, "memory")) == data


def _measured(name: str, items: list[Item]) -> dict[str, Statistics]:
    model = zoo.ZOO[name]()
    nodes = [node for node in model.graph if node.op_type in {"Conv", "Gemm", "MatMul", "Add"}]
    real = [str(out.name) for node in nodes for out in node.outputs]
    return collect(model, [str(model.graph.inputs[0].name), *real], items, signature(model))


@pytest.mark.parametrize("name", ["residual", "residual_13", "transformer", "gemm", "lstm"])
def test_shards_of_one_two_and_seven_in_any_order_give_the_same_bits(name: str) -> None:
    items = graphs.items(graphs.samples(zoo.ZOO[name](), 10))
    whole = _measured(name, items)
    shards = [items[3:10], items[0:1], items[1:3]]
    parts = [_measured(name, list(reversed(shard))) for shard in shards]
    for tensor, statistics_ in whole.items():
        assert parts[0][tensor] + parts[1][tensor] + parts[2][tensor] == statistics_
