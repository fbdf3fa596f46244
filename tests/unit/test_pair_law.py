import numpy as np
import pytest

from edgepack.quantization.pair_law import LIMIT, Weights, lawful_scales, obeys, pair_sums


def column(*values: float) -> Weights:
    return np.array(values, np.float64)[:, None]


def decibels(weights: Weights, scales: Weights, top: int) -> float:
    restored = np.clip(np.rint(weights / scales), -top, top) * scales
    return float(10 * np.log10(np.square(weights).sum() / np.square(weights - restored).sum()))


def test_the_limit_is_the_largest_sum_that_fits_sixteen_bits() -> None:
    assert 255 * LIMIT <= np.iinfo(np.int16).max < 255 * (LIMIT + 1)


LAWFUL = [
    (64, 64),
    (127, 1),
    (-127, 1),
    (1, 127, 127, 1),  # neighbours are (1, 127) and (127, 1)
    (1, 127, 127),  # the last one of an odd K has a zero beside it
    (127,),
    (0, 0),
]
UNLAWFUL = [(65, 65), (64, 65), (127, 2), (-64, -65), (0, 0, 127, 127), (127, 127, 1)]


@pytest.mark.parametrize("codes", LAWFUL)
def test_neighbours_that_keep_the_law(codes: tuple[int, ...]) -> None:
    assert obeys(np.array(codes, np.int8)[:, None])


@pytest.mark.parametrize("codes", UNLAWFUL)
def test_neighbours_that_break_the_law(codes: tuple[int, ...]) -> None:
    assert not obeys(np.array(codes, np.int8)[:, None])


def test_the_most_negative_code_does_not_wrap_around() -> None:
    assert not obeys(np.array([[-128], [-128]], np.int8))


def test_every_channel_is_summed_on_its_own() -> None:
    weights = np.array([[1.0, -3], [2, 4], [5, 0]])
    assert pair_sums(weights).tolist() == [5, 7]


def test_a_scale_is_no_larger_than_the_law_asks() -> None:
    assert lawful_scales((column(1, 1),))[0] == 2 / 128
    assert lawful_scales((column(1, 0),))[0] == 1 / 127
    assert lawful_scales((column(0, 0),))[0] > 0


def test_a_scale_is_raised_where_float32_rounds_it_down() -> None:
    # at 0.7 the codes are 1.5 and 126.5, ties to 2 and 126; just below it they are 2 and 127
    weights = column(1.5 * 0.7, 126.5 * 0.7)
    stored = float(np.float32(0.7))
    assert stored < 0.7
    assert np.rint(weights / stored).sum() == 129
    scale = float(lawful_scales((weights,))[0].astype(np.float32))
    assert 0.7 < scale < 0.7 * 1.001
    assert obeys(np.rint(weights / scale).astype(np.int64))


def test_gaussian_weights_keep_more_than_seven_bits_would() -> None:
    weights = np.random.default_rng(0).standard_normal((512, 64))
    top = np.abs(weights).max(axis=0)
    lawful = decibels(weights, lawful_scales((weights,)), 127)
    seven, eight = decibels(weights, top / 64, 64), decibels(weights, top / 127, 127)
    assert seven + 2.5 < lawful < eight  # 3 dB on average over channels; 6 dB is a whole bit
