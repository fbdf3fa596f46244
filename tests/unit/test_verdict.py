import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import t

from edgepack.bench.findings import Until
from edgepack.bench.verdict import FEWEST, Bars, Groups, Verdict, judge, walk

BARS = Bars()
LOOKS = (5, 10, 20, 40)


def scatter(center: float, width: float = 0.001) -> Groups:
    """Ten processes of two pairs; the means of processes lie ``width`` around the center."""
    return [[center + sign * width - 0.01, center + sign * width + 0.01] for sign in (1, -1) * 5]


@pytest.mark.parametrize(
    ("percent", "decision"),
    [
        (3.0, "slower"),
        (1.0, "slower"),
        (0.5, "no difference"),
        (0.0, "no difference"),
        (-0.5, "no difference"),
        (-1.0, "faster"),
        (-30.0, "faster"),
    ],
)
def test_ratios_that_scatter_by_a_thousandth_are_decided(percent: float, decision: str) -> None:
    found = judge(scatter(math.log1p(percent / 100)), 0.01, BARS)
    assert found.decision == decision
    np.testing.assert_allclose(found.ratio, 1 + percent / 100)
    assert (found.processes, found.pairs) == (10, 20)


@pytest.mark.parametrize("percent", [0.0, 1.0, 2.0])
def test_an_interval_that_reaches_beyond_a_bar_decides_nothing(percent: float) -> None:
    assert judge(scatter(math.log1p(percent / 100), 0.02), 0.01, BARS).decision == "inconclusive"


def test_the_interval_is_students_over_the_means_of_processes() -> None:
    values = np.random.default_rng(0).normal(0.01, 0.02, (12, 4))
    found = judge(values.tolist(), 0.01, BARS)
    error = values.mean(axis=1).std(ddof=1) / np.sqrt(12)
    half = t.ppf(1 - 0.005, 11) * error
    expected = [values.mean() - half, values.mean(), values.mean() + half]
    np.testing.assert_allclose(
        np.log([found.interval[0], found.ratio, found.interval[1]]), expected
    )
    seen = 0.005 + 1, np.exp(half + t.ppf(0.9, 11) * error)
    np.testing.assert_allclose(found.smallest_effect, seen[0] * seen[1] - 1)


def test_pairs_of_one_process_count_as_one_process() -> None:
    means = np.random.default_rng(1).normal(0, 0.01, 8)
    once = judge([[mean] for mean in means], 0.01, BARS)
    often = judge([[mean] * 50 for mean in means], 0.01, BARS)
    np.testing.assert_allclose(often.interval, once.interval)


def test_fewer_than_five_processes_decide_nothing_however_clear_they_are() -> None:
    clear = [[0.5], [0.5], [0.5], [0.5], [0.5]]
    assert judge(clear[: FEWEST - 1], 0.01, BARS).decision == "inconclusive"
    assert judge(clear, 0.01, BARS).decision == "slower"


def test_one_process_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 processes"):
        judge([[0.1, 0.2]], 0.01, BARS)


def test_an_absurdly_wide_interval_stays_finite() -> None:
    found = judge([[800.0], [-800.0]] * 3, 0.01, BARS)
    assert found.decision == "inconclusive"
    assert all(map(math.isfinite, (*found.interval, found.smallest_effect)))


@pytest.mark.parametrize(("tolerate", "detect"), [(0.02, 0.02), (0.03, 0.02), (-0.1, 0.02)])
def test_what_must_be_detected_cannot_be_tolerated(tolerate: float, detect: float) -> None:
    with pytest.raises(ValueError, match="tolerate"):
        Bars(tolerate, detect)


def test_each_look_gets_its_share_of_the_error_and_the_first_that_decides_is_the_last() -> None:
    asked: list[tuple[int, float]] = []

    def judged(groups: Groups, error: float) -> tuple[Verdict, bool]:
        asked.append((len(groups), error))
        return judge(groups, error, BARS), len(groups) >= 20

    found = walk(lambda n: [[0.0, 0.01]] * n, LOOKS, 0.01, judged)
    assert asked == [(5, 0.0025), (10, 0.0025), (20, 0.0025)]
    assert found.processes == 20


def test_a_look_that_time_cut_short_is_the_last() -> None:
    asked: list[int] = []

    def judged(groups: Groups, error: float) -> tuple[Verdict, bool]:
        asked.append(len(groups))
        return judge(groups, error, BARS), False

    assert walk(lambda n: [[0.0, 0.01]] * min(n, 7), LOOKS, 0.01, judged).processes == 7
    assert asked == [5, 7]


def simulate(
    effect: float, deviations: tuple[float, float], runs: int, seed: int, bars: Bars = BARS
) -> list[Verdict]:
    """Whole comparisons of two pairs a process; deviations of a process and of a pair in it."""
    rng, judged = np.random.default_rng(seed), Until(bars)
    shape = (runs, LOOKS[-1], 1)
    processes = rng.normal(math.log1p(effect), deviations[0], shape)
    drawn: list[Groups] = rng.normal(processes, deviations[1], (*shape[:2], 2)).tolist()
    return [walk(partial(first, groups), LOOKS, 0.01, judged) for groups in drawn]


def first(groups: Groups, number: int) -> Groups:
    return groups[:number]


@pytest.mark.parametrize("deviations", [(0.0, 0.006), (0.005, 0.008), (0.02, 0.02), (0.1, 0.1)])
def test_equal_models_are_called_different_in_at_most_one_run_of_a_hundred(
    deviations: tuple[float, float],
) -> None:
    found = [each.decision for each in simulate(0, deviations, 2000, 0)]
    assert found.count("slower") + found.count("faster") <= 20


@pytest.mark.parametrize("deviations", [(0.0, 0.006), (0.02, 0.02)])
def test_the_interval_at_the_end_misses_the_truth_in_at_most_one_run_of_a_hundred(
    deviations: tuple[float, float],
) -> None:
    ends = [each.interval for each in simulate(0.01, deviations, 2000, 1)]
    missed = sum(not low <= 1.01 <= high for low, high in ends)
    assert missed <= 20 + 13  # three standard errors above 1 % of 2000 runs


def test_looking_at_every_process_for_the_whole_error_would_miss_far_more_often() -> None:
    rng, missed = np.random.default_rng(2), 0
    for draws in rng.normal(0, 0.03, (300, 40, 1)).tolist():
        looks = (judge(draws[:n], 0.01, BARS).interval for n in range(5, 41))
        missed += any(not low <= 1 <= high for low, high in looks)
    assert missed / 300 > 0.03


BUSY = (0.003, 0.0085)
"""Deviations seen in CPU time of one thread on two cores at a load of 11."""


@pytest.mark.parametrize("effect", [0.02, 0.03])
def test_a_slow_down_that_must_be_detected_is_found(effect: float) -> None:
    found = [each.decision for each in simulate(effect, BUSY, 300, 3)]
    assert found.count("slower") >= 0.98 * 300
    assert found.count("faster") == 0


def test_a_smaller_slow_down_is_found_where_it_is_asked_for() -> None:
    asked = [each.decision for each in simulate(0.015, BUSY, 300, 4, Bars(0.005, 0.012))]
    assert asked.count("slower") >= 0.98 * 300
    between = [each.decision for each in simulate(0.01, BUSY, 300, 4)]
    assert {"slower", "no difference"} == set(between)  # both are true of 1 %


def test_a_faster_model_is_called_faster_as_often_as_its_inverse_is_called_slower() -> None:
    quick = [each.decision for each in simulate(1 / 1.02 - 1, BUSY, 300, 5)]
    assert quick.count("faster") >= 0.98 * 300
    assert quick.count("slower") == 0
