from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t

from edgepack.bench import comparison
from edgepack.bench.sampler import Timing, take


@pytest.mark.parametrize(
    ("center", "verdict"),
    [(-0.2, "not slower"), (0.0, "not slower"), (0.2, "slower"), (0.005, "inconclusive")],
)
def test_the_verdict_on_ratios_that_scatter_by_a_thousandth(center: float, verdict: str) -> None:
    scatter = [center + 0.001 * sign for sign in (1, -1) * 6]
    found = comparison._judge(scatter, "cpu", 1)
    assert found.verdict == verdict
    np.testing.assert_allclose(found.ratio, np.exp(center))
    assert found.log_ratios == tuple(scatter)


def test_what_scatters_widely_is_inconclusive() -> None:
    assert comparison._judge([0.3, -0.3] * 3, "wall", 4).verdict == "inconclusive"


def test_the_interval_is_students_at_a_third_of_the_error() -> None:
    values = np.random.default_rng(0).normal(0.01, 0.02, 12)
    low, high = comparison._judge(values.tolist(), "cpu", 1).interval
    half = t.ppf(1 - 0.05 / 6, 11) * values.std(ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(np.log([low, high]), [values.mean() - half, values.mean() + half])


def test_all_looks_together_miss_the_truth_in_at_most_one_of_twenty() -> None:
    rng, missed, runs = np.random.default_rng(0), 0, 1500
    for draws in rng.normal(0.03, 0.02, (runs, comparison._LOOKS[-1])):
        looks = [comparison._judge(draws[:n].tolist(), "cpu", 1) for n in comparison._LOOKS]
        missed += any(not low <= np.exp(0.03) <= high for low, high in (x.interval for x in looks))
    # three looks share 5 % and overlap; 3.3 standard errors of 1500 runs are 1.9 %
    assert 0.02 < missed / runs < 0.05 + 0.019


def test_equal_models_are_called_slower_in_fewer_than_one_of_twenty() -> None:
    rng, slower, runs = np.random.default_rng(1), 0, 1500
    for draws in rng.normal(0, 0.02, (runs, comparison._LOOKS[-1])):
        looks = (comparison._judge(draws[:n].tolist(), "cpu", 1) for n in comparison._LOOKS)
        slower += any(look.verdict == "slower" for look in looks)
    assert slower / runs < 0.025  # one-sided


def test_a_comparison_runs_both_and_says_what_it_measured() -> None:
    opened = {"a": 0, "b": 0}
    calls = {"a": 0, "b": 0}

    def opener(name: str) -> comparison.Opener:
        def run() -> None:
            calls[name] += 1
            sum(range(2000))

        def start() -> Callable[[], object]:
            opened[name] += 1
            return run

        return start

    found = comparison.compare(opener("a"), opener("b"), threads=1)
    assert opened["a"] == opened["b"] == len(found.log_ratios)
    assert len(found.log_ratios) in comparison._LOOKS
    assert calls["a"] == calls["b"]
    assert (found.clock, found.threads) == ("cpu", 1)
    assert found.interval[0] <= found.ratio <= found.interval[1]


def test_samples_are_kept_in_order_and_warm_up_is_not_timed() -> None:
    calls: list[int] = []
    timing = take(lambda: calls.append(len(calls)), threads=1, warmup=3, runs=5)
    assert len(calls) == 8
    assert len(timing.wall) == len(timing.cpu) == 5
    assert min(timing.wall) >= 0


def test_percentiles_are_those_of_the_samples() -> None:
    timing = Timing(tuple(map(float, range(101))), tuple(map(float, range(0, 202, 2))))
    assert timing.percentiles() == {
        "wall": {"p50": 50, "p90": 90, "p99": 99},
        "cpu": {"p50": 100, "p90": 180, "p99": 198},
    }
