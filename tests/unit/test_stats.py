import numpy as np
import pytest

from edgepack.base.stats import clustered_mean, t_quantile


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 29, 99, 300, 301, 10_000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_are_those_of_scipy(df: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    want = float(stats.t.ppf((1 + confidence) / 2, df))
    assert t_quantile(df, confidence) == pytest.approx(want, rel=1e-6)


def test_a_known_quantile() -> None:
    assert t_quantile(1) == pytest.approx(12.7062, abs=1e-4)  # any printed table


@pytest.mark.parametrize(("df", "confidence"), [(0, 0.95), (3, 0.0), (3, 1.0)])
def test_a_quantile_that_does_not_exist_is_refused(df: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(df, confidence)


def test_without_clusters_the_variance_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(size=50)
    mean, variance = clustered_mean(values, np.arange(50))
    assert mean == pytest.approx(values.mean())
    assert variance == pytest.approx(values.var(ddof=1) / 50)


def test_repeats_of_a_value_add_nothing_when_they_are_one_cluster() -> None:
    values = np.random.default_rng(0).normal(size=50)
    plain = clustered_mean(values, np.arange(50))
    repeated = clustered_mean(np.repeat(values, 7), np.repeat(np.arange(50), 7))
    assert repeated == pytest.approx(plain)


def test_one_cluster_has_no_variance() -> None:
    with pytest.raises(ValueError, match="one cluster"):
        clustered_mean(np.ones(3), np.zeros(3, np.int64))
