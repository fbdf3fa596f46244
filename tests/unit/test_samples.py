import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.base.errors import DataError, EdgepackError, RequestError
from edgepack.data.samples import Dataset, open_dataset
from edgepack.spec.signature import Signature, TensorSpec

IMAGE = Signature((TensorSpec("image", "float32", ("batch", 3, 2, 4)),), ())
FIXED = Signature((TensorSpec("image", "float32", (1, 3, 2, 4)),), ())
TEXT = Signature(
    (
        TensorSpec("ids", "int64", ("batch", "length")),
        TensorSpec("mask", "bool", ("batch", "length")),
    ),
    (),
)
VOICE = Signature(
    (TensorSpec("input", "float32", (1, 4)), TensorSpec("h", "float32", (1, 2))),
    (),
    {"hn": "h"},
)
IMAGES = np.arange(5 * 24, dtype=np.float32).reshape(5, 3, 2, 4)
LABELS = np.array([3, 1, 4, 1, 5])


def opened(ref: object, signature: Signature = IMAGE, **options: Any) -> Dataset:
    return open_dataset(ref, signature, **{"labelled": False, **options})


def code(ref: object, signature: Signature = IMAGE, **options: Any) -> EdgepackError:
    with pytest.raises(EdgepackError) as caught:
        list(opened(ref, signature, **options))
    return caught.value


def as_npz(folder: Path) -> str:
    np.savez(folder / "data.npz", image=IMAGES, labels=LABELS)
    return "data.npz"


def as_compressed(folder: Path) -> str:
    np.savez_compressed(folder / "data.npz", IMAGES, labels=LABELS.astype(np.uint8))
    return "data.npz"


def as_fortran(folder: Path) -> str:
    np.savez(folder / "data.npz", image=np.asfortranarray(IMAGES), labels=LABELS)
    return "data.npz"


def as_big_endian(folder: Path) -> str:
    np.savez(folder / "data.npz", image=IMAGES.astype(">f4"), labels=LABELS.astype(">i4"))
    return "data.npz"


def as_folder(folder: Path) -> str:
    (folder / "samples").mkdir()
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        np.savez(folder / f"samples/{index}.npz", image=image[None], label=label)
    (folder / "samples/notes.txt").write_text("not a sample")
    return "samples"


def as_code(folder: Path) -> str:
    np.save(folder / "images.npy", IMAGES)
    text = """
import numpy as np
from pathlib import Path

def items():
    for image, label in zip(np.load(Path(__file__).with_name("images.npy")), [3, 1, 4, 1, 5]):
        yield {"image": image[None]}, label
"""
    (folder / "data.py").write_text(text)
    return "data.py:items"


FORMS = [as_npz, as_compressed, as_fortran, as_big_endian, as_folder, as_code]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples_labels_and_digest(
    tmp_path: Path, form: Callable[[Path], str]
) -> None:
    data = opened(form(tmp_path), labelled=True, folder=tmp_path)
    for index, item in enumerate(data):
        (sample,), (label,) = item.samples, item.labels
        assert sample["image"].dtype == np.float32
        np.testing.assert_array_equal(sample["image"], IMAGES[index : index + 1])
        assert label.shape == ()
        assert label == LABELS[index]
        assert item.group == index
    assert len(data) == 5
    pairs = [({"image": image[None]}, label) for image, label in zip(IMAGES, LABELS, strict=True)]
    assert data.sha256 == opened(pairs, labelled=True).sha256
    assert data.sha256 != opened(pairs).sha256  # labels count where they are asked for


@pytest.mark.parametrize(
    "ref",
    [
        {"image": IMAGES},
        IMAGES,
        [image[None] for image in IMAGES],
        (image[None] for image in IMAGES),
        lambda: iter([{"image": image[None]} for image in IMAGES]),
        [(image[None], 7) for image in IMAGES],
    ],
)
def test_python_values_serve_as_data_and_can_be_read_twice(ref: object) -> None:
    data = opened(ref)
    assert len(list(data)) == 5
    assert [item.samples[0]["image"][0, 0, 0, 0] for item in data] == [0, 24, 48, 72, 96]


def test_an_npy_file_serves_a_model_of_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", IMAGES)
    assert opened("data.npy", folder=tmp_path).sha256 == opened(IMAGES).sha256
    (tmp_path / "folder").mkdir()
    for index, image in enumerate(IMAGES):
        np.save(tmp_path / f"folder/{index}.npy", image[None])
    assert opened("folder", folder=tmp_path).sha256 == opened(IMAGES).sha256


class Tensor:
    """What a framework's tensor offers."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.shape = array, array.shape

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.array


def test_tensors_and_batches_of_a_loader_are_taken_apart() -> None:
    batches = [
        [{"image": Tensor(IMAGES[:3])}, Tensor(LABELS[:3])],
        [{"image": Tensor(IMAGES[3:])}, Tensor(LABELS[3:])],
    ]
    data = opened(batches, FIXED, labelled=True)
    assert (
        data.sha256 == opened(list(zip(IMAGES[:, None], LABELS, strict=True)), labelled=True).sha256
    )
    stacked = [
        (IMAGES[:, None], LABELS, [7, 7, 8, 8, 9])
    ]  # what default_collate makes of (1, 3, 2, 4)
    again = opened(stacked, FIXED, labelled=True)
    assert again.sha256 == data.sha256
    assert again.contents.groups == (0, 0, 1, 1, 2)


def test_a_batch_stays_whole_where_the_model_takes_one() -> None:
    (item,) = opened([(IMAGES, LABELS)], IMAGE, labelled=True)
    assert item.samples[0]["image"].shape == (5, 3, 2, 4)
    assert item.labels[0].tolist() == LABELS.tolist()


def test_scalar_inputs_take_one_value_per_sample() -> None:
    signature = Signature((*IMAGE.inputs, TensorSpec("rate", "int64", ())), ())
    items = list(opened({"image": IMAGES, "rate": np.arange(5)}, signature))
    assert [item.samples[0]["rate"].shape for item in items] == [()] * 5
    assert [int(item.samples[0]["rate"]) for item in items] == [0, 1, 2, 3, 4]


def test_groups_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=IMAGES, groups=np.array(["b", "a", "b", "c", "a"]))
    data = opened("d.npz", folder=tmp_path)
    assert [item.group for item in data] == [0, 1, 0, 2, 1]
    assert data.take([1, 4]).contents.groups == (1, 1)


def test_integers_booleans_and_strings_are_samples_too() -> None:
    sample = {"ids": np.array([[5, 6]]), "mask": np.array([[True, False]])}
    (item,) = opened([sample], TEXT)
    assert item.samples[0]["ids"].dtype == np.int64
    words = Signature((TensorSpec("words", "str", ("n",)),), ())
    forms = [{"words": np.array(["a", "bc"])}, {"words": np.array(["a", "bc"], object)}]
    digests = {opened([form], words).sha256 for form in forms}
    assert digests == {opened([np.array(["a", "bc"], "U9")], words).sha256}
    assert digests != {opened([np.array(["ab", "c"])], words).sha256}


FRAMES = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "ref",
    [
        {"input": FRAMES, "labels": np.array([[0, 1, 1], [1, 0, 0]])},
        {"input": FRAMES[:, :, None], "labels": np.array([[0, 1, 1], [1, 0, 0]])},
        [(FRAMES[0], [0, 1, 1]), (FRAMES[1], [1, 0, 0])],
        [
            ([{"input": frame[None]} for frame in FRAMES[0]], [0, 1, 1]),
            ([{"input": frame[None]} for frame in FRAMES[1]], [1, 0, 0]),
        ],
    ],
)
def test_with_carried_state_an_item_is_a_sequence(ref: object) -> None:
    data = opened(ref, VOICE, labelled=True)
    first, second = data
    assert [sample["input"].tolist() for sample in first.samples] == FRAMES[0][:, None].tolist()
    assert [int(label) for label in second.labels] == [1, 0, 0]
    assert data.contents.lengths == (3, 3)
    (cut,) = data.take([1], slice(2, None))
    assert cut.samples[0]["input"].tolist() == [FRAMES[1, 2].tolist()]
    assert [int(label) for label in cut.labels] == [0]


def test_sequences_in_a_folder_may_differ_in_length(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAMES[0])
    np.save(tmp_path / "b.npy", FRAMES[1, :2])
    assert opened(tmp_path, VOICE).contents.lengths == (3, 2)


def test_taking_of_a_part_counts_from_the_part() -> None:
    data = opened(IMAGES).take([4, 1, 3]).take([0, 2])
    assert [int(item.samples[0]["image"].flat[0]) for item in data] == [24, 96]


def test_a_source_that_changes_between_passes_is_caught() -> None:
    rng = np.random.default_rng(0)
    data = opened(lambda: [rng.random((1, 3, 2, 4), np.float32) for _ in range(3)])
    assert len(data) == 3
    with pytest.raises(DataError) as caught:
        list(data)
    assert caught.value.code == "E-DATA-CHANGED"
    with pytest.raises(DataError, match="first pass"):
        list(data.take([0, 2]))
    lengths = iter([3, 2, 4])
    unsteady = opened(lambda: [image[None] for image in IMAGES[: next(lengths)]])
    assert len(unsteady) == 3
    for _ in range(2):
        with pytest.raises(DataError, match="first pass"):
            list(unsteady)


@pytest.mark.parametrize(
    ("ref", "signature", "name", "words"),
    [
        (IMAGES.astype(np.float64), IMAGE, "E-DATA-DTYPE", "float64.*float32"),
        (IMAGES.astype(np.uint8), IMAGE, "E-DATA-DTYPE", "uint8"),
        (
            [IMAGES[:1].transpose(0, 2, 3, 1)],
            IMAGE,
            "E-DATA-SHAPE",
            r"\[1, 2, 4, 3\].*\[batch,3,2,4\]",
        ),
        ([IMAGES[0]], IMAGE, "E-DATA-SHAPE", "sample 0"),
        ([IMAGES[:1], IMAGES[:1, :, :1]], IMAGE, "E-DATA-SHAPE", "sample 1"),
        ([{"imgae": IMAGES[:1]}], IMAGE, "E-DATA-NAME", "imgae"),
        ([{}], IMAGE, "E-DATA-NAME", "image"),
        ([IMAGES[:1], {}], IMAGE, "E-DATA-NAME", "sample 1"),
        ([[1.0, 2.0, 3.0, 4.0]], IMAGE, "E-DATA-TYPE", "list"),
        ([3], IMAGE, "E-DATA-TYPE", "int"),
        ([np.zeros((1, 4))], TEXT, "E-DATA-TYPE", "ndarray"),
        ([{"ids": np.zeros((1, 4), int)}], TEXT, "E-DATA-NAME", "mask"),
        (
            [{"ids": np.zeros((1, 4), int), "mask": np.zeros((1, 5), bool)}],
            TEXT,
            "E-DATA-SHAPE",
            r"mask.*\[1, 5\]",
        ),
        ([np.zeros((1, 3, 0, 4), np.float32)], IMAGE, "E-DATA-SHAPE", "0"),
        ([np.zeros((0, 3, 2, 4), np.float32)], FIXED, "E-DATA-EMPTY", "nothing"),
        ([{"input": FRAMES[0], "h": FRAMES[0]}], VOICE, "E-DATA-NAME", "state 'h'"),
        ([[]], VOICE, "E-DATA-EMPTY", "sample 0"),
        (lambda: 3, IMAGE, "E-DATA-TYPE", "int"),
        ({"image": IMAGES, "mask": IMAGES[:3]}, IMAGE, "E-DATA", "5.*3"),
        ({"image": np.float32(3)}, IMAGE, "E-DATA", "numbers"),
        ([{"image": [[1, 2], [3]]}], IMAGE, "E-DATA-TYPE", "list"),
    ],
)
def test_an_item_that_does_not_fit_is_named(
    ref: object, signature: Signature, name: str, words: str
) -> None:
    error = code(ref, signature)
    assert (error.code, error.exit_code) == (name, 4)
    assert re.search(words, str(error))


def test_hints_name_the_usual_slips() -> None:
    assert "transpose(0, 3, 1, 2)" in code([IMAGES[:1].transpose(0, 2, 3, 1)]).hint
    assert "array[None]" in code([IMAGES[0]]).hint
    assert 'astype("float32")' in code(IMAGES.astype(np.float64)).hint
    assert "'image'" in code([{"imgae": IMAGES[:1]}]).hint
    assert "'labels'" in code({"image": IMAGES, "lables": LABELS}).hint


@pytest.mark.parametrize(
    "ref",
    [
        [IMAGES[:1]],
        [(IMAGES[:1], None)],
        [(IMAGES[:1], {1: 2}.keys())],
        [(IMAGES[:3], [1, 2])],
        [(IMAGES[:1], [])],
        [(IMAGES[:1], 1j)],
    ],
)
def test_a_sample_without_a_usable_label_is_refused_where_labels_are_asked_for(ref: object) -> None:
    assert code(ref, FIXED, labelled=True).code == "E-DATA-LABELS"


@pytest.mark.parametrize(
    "ref", ["absent.npz", "absent", "file.txt", "absent.py:f", "mine.py:absent", "plain.npz/x.npz"]
)
def test_a_reference_to_nothing_is_a_wrong_request(tmp_path: Path, ref: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "mine.py").write_text("x = 1")
    (tmp_path / "plain.npz").write_text("x")
    with pytest.raises(RequestError):
        opened(ref, folder=tmp_path)


def test_a_folder_without_data_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    error = code(tmp_path)
    assert (error.code, error.exit_code) == ("E-DATA-EMPTY", 4)
    assert ".jpg" in str(error)


def test_code_that_raises_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("def f():\n    yield from ()\n    raise OSError('no camera')")
    error = code("data.py:f", folder=tmp_path)
    assert error.exit_code == 4
    assert "OSError: no camera (data.py, line 3)" in str(error)


def peak(data: Dataset) -> int:
    tracemalloc.start()
    for _ in data:
        pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("form", ["npz", "compressed", "folder", "code"])
def test_memory_does_not_grow_with_samples(tmp_path: Path, form: str) -> None:
    signature = Signature((TensorSpec("x", "float32", ("n", 50_000)),), ())

    def rows(count: int) -> Iterator[np.ndarray[Any, Any]]:
        rng = np.random.default_rng(0)
        return (rng.random((1, 50_000), np.float32) for _ in range(count))

    def made(count: int) -> object:
        if form == "code":
            return lambda: rows(count)
        path = tmp_path / f"{count}.npz"
        if form == "folder":
            path = tmp_path / str(count)
            path.mkdir()
            for index, row in enumerate(rows(count)):
                np.save(path / f"{index:03}.npy", row)
        else:
            save = np.savez if form == "npz" else np.savez_compressed
            save(path, np.concatenate(list(rows(count))))
        return path

    few, many = (peak(opened(made(count), signature)) for count in (4, 40))
    assert many < 1.2 * few  # ten times the samples; digests and file names are what grows


def test_a_path_that_the_system_refuses_is_the_fault_of_the_request() -> None:
    error = code("x" * 300 + ".npz")
    assert isinstance(error, RequestError)
    assert (error.code, bool(error.hint)) == ("E-PATH", True)
