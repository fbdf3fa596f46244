from typing import Any

import numpy as np
import pytest

from edgepack.base.errors import DataError
from edgepack.data.lint import compare_ranges, inspect
from edgepack.data.samples import Dataset, open_dataset
from edgepack.spec.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
IMAGE = Signature((TensorSpec("image", "float32", ("n", 8)),), ())
TEXT = Signature(
    (TensorSpec("ids", "int64", ("n", 4)), TensorSpec("mask", "float32", ("n", 4))),
    (),
)
VOICE = Signature((TensorSpec("x", "float32", (1, 8)),), (), {"hn": "h"})


def images(count: int = 20, scale: float = 1.0) -> Array:
    return RNG.random((count, 8), np.float32) * np.float32(scale)


def data(ref: object, signature: Signature = IMAGE) -> Dataset:
    return open_dataset(ref, signature, labelled=False)


def with_value(value: float) -> Array:
    array = images()
    array[3, 2] = value
    return array


def test_sound_data_pass_without_a_note() -> None:
    array = images()
    seen = inspect(data(array), "calibration")
    assert (seen.samples, seen.items, seen.notes) == (20, 20, ())
    assert seen.ranges["image"].low == array.min()
    assert seen.ranges["image"].high == array.max()
    assert seen.ranges["image"].rms == pytest.approx(np.sqrt(np.mean(array.astype(float) ** 2)))
    assert len(set(seen.digests)) == 20
    assert {len(digest) for digest in seen.digests} == {16}


@pytest.mark.parametrize(
    ("ref", "code", "words"),
    [
        ([], "E-DATA-EMPTY", "no samples"),
        (with_value(np.nan), "E-DATA-NAN", "sample 3 .*NaN in 'image'"),
        (with_value(np.inf), "E-DATA-NAN", "sample 3 .*Inf in 'image'"),
        (with_value(-np.inf), "E-DATA-NAN", "Inf"),
        (np.zeros((20, 8), np.float32), "E-DATA-CONSTANT", "all 20 .* are the same"),
        (np.repeat(images(1), 20, axis=0), "E-DATA-CONSTANT", "are the same"),
        (np.ones((1, 8), np.float32), "E-DATA-CONSTANT", "'image' is 1 everywhere"),
        ([np.zeros((n, 8), np.float32) for n in (1, 2)], "E-DATA-CONSTANT", "'image' is 0"),
    ],
)
def test_data_that_cannot_serve_are_refused(ref: object, code: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        inspect(data(ref), "calibration")
    assert caught.value.code == code
    assert caught.value.exit_code == 4


def test_a_frame_is_named_where_items_are_sequences() -> None:
    frames = RNG.random((2, 5, 8)).astype(np.float32)
    frames[1, 4, 0] = np.nan
    with pytest.raises(DataError, match=r"sample 1 .*, frame 4: NaN in 'x'"):
        inspect(data(frames, VOICE), "evaluation")


@pytest.mark.parametrize(("count", "word"), [(1, "one sample"), (15, "15 samples"), (16, "")])
def test_few_samples_are_worth_a_sentence(count: int, word: str) -> None:
    notes = inspect(data(images(count)), "calibration").notes
    assert (word in notes[0]) if word else not notes


def test_frames_count_as_samples() -> None:
    frames = RNG.random((1, 100, 8)).astype(np.float32)
    seen = inspect(data(frames, VOICE), "calibration")
    assert (seen.samples, seen.items, seen.notes) == (100, 1, ())


def test_repeats_are_counted() -> None:
    array = images()
    array[4] = array[5] = array[6]
    assert "2 of 20" in inspect(data(array), "calibration").notes[0]


def test_masks_and_token_ids_may_stand_still() -> None:
    ids = RNG.integers(0, 100, (20, 4))
    seen = inspect(data({"ids": ids, "mask": np.ones((20, 4), np.float32)}, TEXT), "calibration")
    assert seen.notes == ("'mask' is 1 in all calibration samples",)
    assert set(seen.ranges) == {"mask"}
    mask = RNG.random((20, 4)).astype(np.float32)
    assert not inspect(data({"ids": ids * 0, "mask": mask}, TEXT), "calibration").notes


def test_strings_are_looked_at_only_for_repeats() -> None:
    words = Signature((TensorSpec("words", "str", ("n",)),), ())
    array = np.array([f"word {index}" for index in range(20)])
    assert not inspect(data(array, words), "calibration").notes


@pytest.mark.parametrize(("first", "second"), [(255, 1), (1, 255), (1, 0.05)])
def test_ranges_far_apart_are_refused(first: float, second: float) -> None:
    a = inspect(data(images(scale=first)), "calibration")
    b = inspect(data(images(scale=second)), "evaluation")
    with pytest.raises(
        DataError, match=r"'image' spans \[.*\] in calibration and \[.*\]"
    ) as caught:
        compare_ranges(a, b)
    assert caught.value.code == "E-CAL-RANGE"


def test_an_outlier_or_a_quiet_set_is_not_another_preprocessing() -> None:
    usual = inspect(data(images(400)), "calibration")
    outlier = images(400)
    outlier[0, 0] = 50
    compare_ranges(usual, inspect(data(outlier), "evaluation"))
    compare_ranges(usual, inspect(data(images(400, 5)), "evaluation"))
    quiet = images(400) * np.float32(0.01)
    quiet[0] = 1
    compare_ranges(usual, inspect(data(quiet), "evaluation"))


def test_the_data_are_read_once() -> None:
    passes = []

    def once() -> list[Array]:
        passes.append(1)
        return [image[None] for image in images()]

    dataset = data(once)
    seen = inspect(dataset, "calibration")
    assert (seen.sha256, len(dataset), len(passes)) == (dataset.sha256, 20, 1)
