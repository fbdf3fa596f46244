"""Laws of statistics: any split and any order of the data give the same."""

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.base import registry
from edgepack.bench.verdict import Bars, judge
from edgepack.calibration.statistics import Statistics

numbers = st.floats(allow_nan=False, allow_infinity=False)
statistics = st.lists(numbers, max_size=6).map(
    lambda values: reduce(add, (Statistics(1, x, x) for x in values), Statistics())
)


@given(statistics, statistics, statistics)
def test_statistics_are_a_commutative_monoid(a: Statistics, b: Statistics, c: Statistics) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Statistics() == a == Statistics() + a


@given(st.lists(numbers, min_size=1), st.data())
def test_any_split_gives_the_extrema_of_the_whole(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    parts = [values[:cut], values[cut:]]
    merged = [reduce(add, (Statistics(1, x, x) for x in part), Statistics()) for part in parts]
    assert merged[0] + merged[1] == Statistics(len(values), min(values), max(values))


@pytest.mark.parametrize("name", registry.names("calibration.ranges"))
@given(values=st.lists(numbers, min_size=1))
def test_a_range_lies_within_what_was_seen(name: str, values: list[float]) -> None:
    seen = reduce(add, (Statistics(1, x, x) for x in values))
    low, high = registry.find("calibration.ranges", name)().range(seen)
    assert min(values) <= low <= high <= max(values)


groups = st.lists(st.lists(st.floats(-1, 1), min_size=2, max_size=2), min_size=5, max_size=20)


@given(groups)
def test_a_verdict_says_what_its_interval_says(log_ratios: list[list[float]]) -> None:
    found = judge(log_ratios, 0.01, Bars())
    low, high = found.interval
    assert low <= found.ratio <= high
    if low > 1.005:
        assert found.decision == "slower"
    elif high < 1 / 1.005:
        assert found.decision == "faster"
    else:
        same = low > 1 / 1.02 and high < 1.02
        assert found.decision == ("no difference" if same else "inconclusive")


@given(groups)
def test_swapping_a_and_b_inverts_the_verdict(log_ratios: list[list[float]]) -> None:
    found = judge(log_ratios, 0.01, Bars())
    turned = judge([[-x for x in group] for group in log_ratios], 0.01, Bars())
    np.testing.assert_allclose(turned.interval, [1 / x for x in reversed(found.interval)])
    assert math.isclose(turned.ratio * found.ratio, 1)
    opposite = {"slower": "faster", "faster": "slower"}
    assert turned.decision == opposite.get(found.decision, found.decision)


@given(groups, st.data())
def test_a_verdict_does_not_depend_on_the_order(
    log_ratios: list[list[float]], data: st.DataObject
) -> None:
    mixed = data.draw(st.permutations(log_ratios))
    found, again = (judge(each, 0.01, Bars()) for each in (log_ratios, mixed))
    np.testing.assert_allclose(again.interval, found.interval)
