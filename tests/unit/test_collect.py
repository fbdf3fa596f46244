"""The streaming pass: what it sees, what it refuses, and that it holds on to nothing."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.base.errors import DataError
from edgepack.calibration import collect as collecting
from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import of
from edgepack.calibration.thinning import WHOLE, stride
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from tests import graphs

node = helper.make_node


def passing(shape: list[int | str], opset: int = 18, op: str = "Identity") -> ir.Model:
    return graphs.network([node(op, ["x"], ["y"], name="it")], {}, shape=shape, opset=opset)


def items(*arrays: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[Item]:
    return [Item(({"x": array},), (), index) for index, array in enumerate(arrays)]


def drawn(*shape: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("shape", [[2, 3, 5], ["batch", 3, "width"], ["a", "b"], [7]])
def test_small_tensors_are_taken_whole(shape: list[int | str], opset: int) -> None:
    model = passing(shape, opset)
    sizes = [dim if isinstance(dim, int) else 4 + at for at, dim in enumerate(shape)]
    listed = [drawn(*sizes, seed=seed) for seed in range(3)]
    [seen] = collect(model, ["y"], items(*listed), signature(model)).values()
    every = np.stack(listed)
    assert (seen.count, seen.low, seen.high) == (3, every.min(), every.max())
    assert seen.histogram == of(every).histogram


def test_peaks_are_the_largest_magnitudes_of_each_channel() -> None:
    model = passing(["batch", 3, 4, 4])
    listed = [drawn(2, 3, 4, 4, seed=seed) for seed in range(3)]
    [seen] = collect(model, ["x"], items(*listed), signature(model)).values()
    np.testing.assert_array_equal(seen.peaks, np.abs(np.stack(listed)).max(axis=(0, 1, 3, 4)))


def test_behind_a_relu_the_lower_end_is_zero_unmeasured() -> None:
    model = passing([2, 3], op="Relu")
    [seen] = collect(model, ["y"], items(np.abs(drawn(2, 3)) + 1), signature(model)).values()
    assert seen.low == 0
    assert seen.high > 1


@pytest.mark.parametrize("shape", [[1, 3, 250, 251], [1, "c", "h", "w"]])
def test_large_tensors_are_sampled_evenly_from_a_start_of_their_own(shape: list[int | str]) -> None:
    model = passing(shape)
    listed = [drawn(1, 3, 250, 251, seed=seed) for seed in range(4)]
    seen = [collect(model, ["y"], items(each), signature(model))["y"].histogram for each in listed]
    step = stride(listed[0].size)
    assert step > 1
    counts = {histogram.total for histogram in seen}
    assert all(0 <= total - listed[0].size // step <= 1 for total in counts)
    starts = [
        [at for at in range(step) if of(each.ravel()[at::step]).histogram == histogram]
        for each, histogram in zip(listed, seen, strict=True)
    ]
    assert all(len(each) == 1 for each in starts)
    assert len({each[0] for each in starts}) > 1


def test_a_stride_leaves_small_tensors_whole_and_thins_large_ones() -> None:
    assert [stride(size) for size in (1, WHOLE, WHOLE + 1, 2 * WHOLE + 1)] == [1, 1, 5, 9]


def test_extrema_are_of_all_values_even_where_the_histogram_samples() -> None:
    model = passing([1, 3, 250, 251])
    array = drawn(1, 3, 250, 251)
    array[0, 1, 17, 33], array[0, 2, 5, 6] = 99, -99
    [seen] = collect(model, ["y"], items(array), signature(model)).values()
    assert (seen.low, seen.high) == (-99, 99)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1, 500])
def test_what_is_not_finite_is_refused_with_its_sample(bad: float, at: int) -> None:
    model = passing([1, 1000])
    array = drawn(1, 1000)
    array[0, at] = bad
    with pytest.raises(DataError, match="'x' is not finite on calibration sample 1") as caught:
        collect(model, ["x", "y"], items(drawn(1, 1000), array), signature(model), histograms=False)
    assert caught.value.code == "E-CAL-RANGE"


@pytest.mark.parametrize("histograms", [False, True])
def test_a_nan_born_inside_is_refused(*, histograms: bool) -> None:
    model = passing([1, 50], op="Sqrt")
    array = np.abs(drawn(1, 50))
    array[0, 30] = -1
    with pytest.raises(DataError, match="'y' is not finite on calibration sample 0"):
        collect(model, ["y"], items(array), signature(model), histograms=histograms)


def test_no_samples_are_refused() -> None:
    model = passing([1, 4])
    with pytest.raises(DataError, match="no calibration sample"):
        collect(model, ["y"], [], signature(model))


def test_counting_early_and_often_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = passing([1, 500])
    listed = items(*(drawn(1, 500, seed=seed) for seed in range(9)))
    late = collect(model, ["x", "y"], listed, signature(model))
    monkeypatch.setattr(collecting, "_WAITING", 600)
    assert collect(model, ["x", "y"], listed, signature(model)) == late
