import numpy as np
import pytest

from edgepack.bench.percentile import discarded, needed, percentile


@pytest.mark.parametrize(("percent", "number"), [(50, 11), (90, 64), (99, 662)])
def test_a_percentile_needs_as_many_samples_as_loadgen_asks_for(percent: int, number: int) -> None:
    assert needed(percent) == number
    samples = list(map(float, range(number)))
    assert percentile(samples, percent) is not None
    assert percentile(samples[:-1], percent) is None


def test_the_bound_is_the_sample_that_the_binomial_test_still_allows() -> None:
    found = percentile(list(map(float, range(662))), 99)
    assert found is not None
    assert found.bound == 661  # one discarded: the largest sample itself
    assert found.value == pytest.approx(0.99 * 661)


def test_the_bound_covers_the_true_percentile_99_times_in_100() -> None:
    rng = np.random.default_rng(0)
    true = -np.log(0.1)  # p90 of the exponential distribution
    bounds = [percentile(rng.exponential(size=200).tolist(), 90) for _ in range(2000)]
    missed = sum(each is not None and each.bound < true for each in bounds)
    assert missed <= 20 + 3 * np.sqrt(20)
    assert discarded(200, 90) > 1
