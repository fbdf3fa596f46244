from typing import Any

import numpy as np
import pytest

from edgepack.base.errors import DataError
from edgepack.data.lint import inspect
from edgepack.data.samples import Dataset, open_dataset
from edgepack.data.split import hold_out, overlap, refuse_overlap
from edgepack.spec.signature import Signature, TensorSpec

ONE = Signature((TensorSpec("x", "float32", ("n", 2)),), ())
VOICE = Signature((TensorSpec("x", "float32", (1, 2)),), (), {"hn": "h"})


def rows(*values: float) -> np.ndarray[Any, Any]:
    return np.array([[value, value + 0.5] for value in values], np.float32)


def data(ref: object, signature: Signature = ONE) -> Dataset:
    return open_dataset(ref, signature, labelled=False)


def values(dataset: Dataset) -> list[float]:
    return [float(sample["x"][0, 0]) for item in dataset for sample in item.samples]


def test_shared_samples_are_counted() -> None:
    assert overlap((b"a", b"b"), (b"b", b"c", b"b")) == 2
    assert overlap((), (b"a",)) == 0


def test_an_evaluation_on_calibration_samples_is_refused() -> None:
    a = inspect(data(rows(1, 2, 3)), "calibration")
    refuse_overlap(a, inspect(data(rows(4, 5)), "evaluation"))
    with pytest.raises(DataError, match="1 of 2 evaluation samples") as caught:
        refuse_overlap(a, inspect(data(rows(3, 4)), "evaluation"))
    assert caught.value.code == "E-DATA-OVERLAP"


def test_parts_are_disjoint_complete_and_the_same_for_a_seed() -> None:
    dataset = data(rows(*range(50)))
    split = hold_out(dataset)
    assert (len(split.fit), len(split.held), split.note) == (40, 10, "")
    assert sorted(values(split.fit) + values(split.held)) == list(range(50))
    assert values(hold_out(dataset).held) == values(split.held)
    assert values(hold_out(dataset, seed=1).held) != values(split.held)


def test_groups_stay_whole() -> None:
    groups = np.arange(60) // 5
    split = hold_out(data({"x": rows(*range(60)), "groups": groups}), 0.25)
    held, fit = ({int(value) // 5 for value in values(part)} for part in (split.held, split.fit))
    assert not held & fit
    assert len(split.held) == 15


def test_repeats_stay_on_one_side() -> None:
    for seed in range(20):
        split = hold_out(data(rows(1, 1, 1, 2, 3, 4, 4)), 0.4, seed)
        assert not set(values(split.fit)) & set(values(split.held))
        assert len(split.fit) + len(split.held) == 7


@pytest.mark.parametrize("sizes", [(9, 1), (1, 9), (5, 5)])
def test_neither_part_is_empty(sizes: tuple[int, int]) -> None:
    groups = np.repeat([0, 1], sizes)
    split = hold_out(data({"x": rows(*range(10)), "groups": groups}), 0.2)
    assert sorted([len(split.fit), len(split.held)]) == sorted(sizes)


def test_one_group_is_parted_inside_and_it_is_said() -> None:
    split = hold_out(data({"x": rows(*range(10)), "groups": np.zeros(10, int)}))
    assert (len(split.fit), len(split.held)) == (8, 2)
    assert "one group" in split.note


def test_one_sequence_is_cut_in_time_and_it_is_said() -> None:
    split = hold_out(data(rows(*range(10))[None], VOICE))
    assert values(split.fit) == list(range(8))
    assert values(split.held) == [8, 9]
    assert "one sequence" in split.note
    whole = hold_out(data(rows(0, 1)[None], VOICE), 0.01)
    assert (values(whole.fit), values(whole.held)) == ([0], [1])


def test_one_sample_serves_twice_and_it_is_said() -> None:
    split = hold_out(data(rows(1)))
    assert values(split.fit) == values(split.held) == [1]
    assert "one sample" in split.note


def test_nothing_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="no samples"):
        hold_out(data([]))
    with pytest.raises(ValueError, match="hold out"):
        hold_out(data(rows(1, 2)), 1.0)
