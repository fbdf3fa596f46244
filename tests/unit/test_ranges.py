"""Range methods against numpy, brute force and ONNX Runtime's own calibrators."""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector  # noqa: TID251 - an oracle

from edgepack.base import registry
from edgepack.calibration.histogram import codes_of, count
from edgepack.calibration.ranges.entropy import BINS, LEVELS, Entropy, magnitudes
from edgepack.calibration.ranges.entropy import divergences as vectorized
from edgepack.calibration.ranges.minmax import Minmax
from edgepack.calibration.ranges.mse import Mse
from edgepack.calibration.ranges.percentile import Percentile
from edgepack.calibration.statistics import Statistics, of

Values = npt.NDArray[np.float32]

BIN = 1 / 127
"""Width of a bin of the histogram, relative to its value, at most."""


def drawn(kind: str, size: int = 50_001) -> Values:
    rng = np.random.default_rng(1)
    made: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
        "normal": lambda: rng.standard_normal(size),
        "relu": lambda: np.maximum(rng.standard_normal(size) - 0.5, 0),
        "heavy": lambda: rng.standard_t(3, size),
        "skewed": lambda: rng.gamma(2.0, 3.0, size) - 1,
        "away from 0": lambda: 3 + rng.random(size),
        "uniform": lambda: rng.uniform(-1, 1, size),
        "negative": lambda: -rng.gamma(2.0, 3.0, size),
    }
    return np.asarray(made[kind]().astype(np.float32))


every_kind = pytest.mark.parametrize(
    "kind", ["normal", "relu", "heavy", "skewed", "away from 0", "negative"]
)


@every_kind
def test_minmax_takes_the_extrema(kind: str) -> None:
    values = drawn(kind)
    assert Minmax().range(of(values)) == (values.min(), values.max())


@every_kind
@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_a_percentile_is_that_of_numpy_within_the_width_of_a_bin(kind: str, percent: float) -> None:
    values = drawn(kind)
    low, high = Percentile(percent).range(of(values))
    want_high = np.percentile(values, percent, method="inverted_cdf")
    want_low = -np.percentile(-values, percent, method="inverted_cdf")
    assert abs(low - want_low) <= BIN * abs(want_low)
    assert abs(high - want_high) <= BIN * abs(want_high)


def error(values: Values, low: float, high: float) -> float:
    """Round to 256 codes as ONNX does, in float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(values.astype(np.float64) / step) + zero, 0, 255)
    return float(np.square((codes - zero) * step - values).mean())


@every_kind
def test_the_least_squared_error_is_that_of_a_search_over_both_ends(kind: str) -> None:
    values = drawn(kind, 4000)
    least, most = min(float(values.min()), 0), max(float(values.max()), 0)
    grid = np.linspace(0.2, 1, 33)
    ends = [
        (a * least, b * most) for a in (grid if least else [1]) for b in (grid if most else [1])
    ]
    best = min(error(values, low, high) for low, high in ends)
    found = error(values, *Mse().range(of(values)))
    # the search sees bins, not values, and moves one end at a time
    assert found <= 1.1 * best
    assert found <= 1.05 * error(values, least, most)


def slowly(counts: npt.NDArray[np.float64], end: int) -> float:
    """Return KL(P || Q) for one threshold, as the slides of Migacz 2017 spell it."""
    p = counts[:end].copy()
    p[-1] += counts[end:].sum()
    q = np.zeros(end)
    edges = (np.arange(LEVELS + 1) * end) // LEVELS
    for start, stop in itertools.pairwise(edges):
        filled = counts[start:stop] > 0
        if filled.any():
            q[start:stop][filled] = counts[start:stop].sum() / filled.sum()
    p, q = p / p.sum(), np.maximum(q / counts[:end].sum(), 1e-300)
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


@pytest.mark.parametrize("kind", ["normal", "relu", "heavy", "skewed"])
def test_divergences_are_those_of_the_source(kind: str) -> None:
    values = drawn(kind)
    counts = magnitudes(of(values).histogram.bins(), float(np.abs(values).max()))
    np.testing.assert_allclose(counts.sum(), values.size)
    counts += 0.25  # no empty bin: those are smoothed differently
    got = vectorized(counts)
    ends = np.arange(LEVELS, BINS + 1, 4)
    for at in range(0, len(ends), 37):
        if np.isfinite(got[at]):
            assert got[at] == pytest.approx(slowly(counts, int(ends[at])), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_the_threshold_of_entropy_is_near_that_of_onnxruntime(kind: str) -> None:
    values = drawn(kind)
    top = float(np.abs(values).max())
    collector = HistogramCollector(
        "entropy", symmetric=True, num_bins=0, num_quantized_bins=0, percentile=0, scenario="same"
    )
    histogram = np.histogram(values, 2 * BINS + 1, range=(-top, top))
    found = collector.get_entropy_threshold(
        (*histogram, values.min(), values.max(), np.float32(top)), 2 * LEVELS
    )
    low, high = Entropy().range(of(values))
    # two-sided there, fewer levels where bins do not divide, and flat near its least
    assert max(-low, high) == pytest.approx(float(np.asarray(found[1])), rel=0.15)


def test_zeros_behind_a_relu_do_not_pull_the_threshold_down() -> None:
    values = drawn("relu")
    plain = Entropy().range(of(values[values > 0]))[1]
    spiked = np.concatenate([values, np.zeros(10 * values.size, np.float32)])
    assert Entropy().range(of(spiked))[1] == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("method", registry.names("calibration.ranges"))
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, 2.5, -3e38, 3e38])
def test_a_constant_tensor_gets_a_range(method: str, value: float) -> None:
    seen = of(np.full(7, value, np.float32))
    assert registry.find("calibration.ranges", method)().range(seen) == (seen.low, seen.high)


@pytest.mark.parametrize("method", registry.names("calibration.ranges"))
def test_without_a_histogram_every_method_loses_nothing(method: str) -> None:
    seen = Statistics(1, -1.0, 2.0)
    assert registry.find("calibration.ranges", method)().range(seen) == (-1.0, 2.0)


def test_a_bin_is_the_upper_half_of_a_float() -> None:
    codes = codes_of(np.array([0.0, 1.0, 1.0078124, 1.0078125, -2.0], np.float32))
    assert [hex(code) for code in codes] == ["0x0", "0x3f80", "0x3f80", "0x3f81", "0xc000"]
    assert count(codes).counts.tolist() == [1, 2, 1, 1]
