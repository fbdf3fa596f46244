from typing import Any

import numpy as np
import pytest

from edgepack.data.fidelity import fidelity, holds_scores


def runs(*arrays: Any, dtype: type = np.float32) -> list[dict[str, np.ndarray[Any, Any]]]:
    return [{"y": np.asarray(array, dtype)} for array in arrays]


def test_closeness_by_hand() -> None:
    agreement, cosine, sqnr = fidelity(runs([[3, 4]], [[4, 2]]), runs([[3, 4]], [[2, 4]]))
    assert agreement == 0.5
    assert cosine == pytest.approx((1 + 16 / 20) / 2)
    assert sqnr == pytest.approx(10 * np.log10((25 + 20) / (4 + 4)))


def test_equal_outputs_have_no_noise() -> None:
    assert fidelity(runs([[1, 2]]), runs([[1, 2]])) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    ("outputs", "is_scores"),
    [
        (runs([[0.2, 0.8]], [[0.9, 0.1]]), True),
        (runs([[3.0, -1.0, 2.0]]), True),
        (runs([[1.0, 0.0, 0.0]]), True),  # one-hot: of length 1, but it sums to 1
        (runs([[0.6, 0.8]], [[0.8, -0.6]]), False),  # of length 1: embeddings
        (runs([[0.7]]), False),
        (runs([0.2, 0.8]), False),
        (runs([[[0.2, 0.8]]]), False),
        (runs([[1, 2]], dtype=np.int64), False),
        ([{"a": np.zeros((1, 3)), "b": np.zeros((1, 3))}], False),
    ],
)
def test_class_scores_are_known_by_their_form(outputs: list[Any], is_scores: bool) -> None:  # noqa: FBT001
    assert holds_scores(outputs) is is_scores
    assert (fidelity(outputs, outputs)[0] is None) is (
        not is_scores and outputs[0][next(iter(outputs[0]))].dtype.kind == "f"
    )


def test_outputs_that_are_decisions_agree_or_not() -> None:
    floats, shipped = runs([[3]], [[4]], dtype=np.int64), runs([[3]], [[5]], dtype=np.int64)
    assert fidelity(floats, shipped) == (0.5, 0.5, None)


def test_all_real_outputs_count() -> None:
    floats = [{"a": np.array([[3.0]]), "n": np.array([7]), "b": np.array([[4.0]])}]
    shipped = [{"a": np.array([[3.0]]), "n": np.array([9]), "b": np.array([[0.0]])}]
    agreement, cosine, sqnr = fidelity(floats, shipped)
    assert agreement is None
    assert cosine == pytest.approx(0.6)
    assert sqnr == pytest.approx(10 * np.log10(25 / 16))


def test_what_overflowed_is_far_from_float_and_never_nan() -> None:
    agreement, cosine, sqnr = fidelity(runs([[1, 2]]), runs([[np.nan, np.inf]]))
    assert (agreement, cosine) == (0, 0)
    assert sqnr == pytest.approx(0)


def test_a_masked_class_is_no_noise() -> None:
    masked = runs([[1, -np.inf]])
    assert fidelity(masked, masked) == (1.0, 1.0, None)


def test_another_number_of_boxes_is_noise() -> None:
    _, cosine, sqnr = fidelity(runs([[1, 2]]), runs([[1, 2, 3]]))
    assert cosine == 0
    assert sqnr == pytest.approx(0)
