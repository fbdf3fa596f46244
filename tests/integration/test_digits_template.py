"""The built-in example: its data are what they claim, its model is good and repeatable."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgepack
from edgepack.base.reference import load_object
from edgepack.data.samples import Dataset, open_dataset
from edgepack.runtime.raw.image import sample
from edgepack.spec.preprocess import Image
from edgepack.spec.project import load
from edgepack.spec.signature import Signature, TensorSpec

DIGITS = Path(edgepack.__file__).parent / "templates" / "digits"
SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 8, 8)),),
    (TensorSpec("scores", "float32", ("batch", 10)),),
)


def opened(part: str, *, labelled: bool) -> Dataset:
    return open_dataset(f"data.py:{part}", SIGNATURE, labelled=labelled, folder=DIGITS)


def images(items: Iterable[Any]) -> list[bytes]:
    return [item.samples[0]["image"].tobytes() for item in items]


def make_model() -> nn.Module:
    make: Any = load_object("model.py:make_model", DIGITS)
    model: nn.Module = make()
    return model


def digest(model: nn.Module) -> str:
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in state)).hexdigest()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return make_model()


def test_no_image_serves_twice() -> None:
    parts = [opened("training", labelled=True), opened("calibration", labelled=False)]
    parts.append(opened("evaluation", labelled=True))
    seen = [image for part in parts for image in images(part)]
    assert len(seen) == len(set(seen)) == 1797


def test_five_hundred_images_or_more_are_held_out_with_every_digit_among_them() -> None:
    labels = [int(item.labels[0]) for item in opened("evaluation", labelled=True)]
    assert len(labels) == 640
    assert min(np.bincount(labels, minlength=10)) >= 50


def test_the_digits_are_those_that_uci_counted() -> None:
    # "No of examples in testing set" of the dataset's own description
    counted = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    table = np.loadtxt(DIGITS / "digits.csv.gz", delimiter=",")
    assert np.bincount(table[:, 64].astype(int)).tolist() == counted


def test_the_licence_note_names_this_very_file() -> None:
    sha256 = hashlib.sha256((DIGITS / "digits.csv.gz").read_bytes()).hexdigest()
    assert sha256 in (DIGITS / "LICENSE-data.md").read_text()


def test_pixels_lie_between_paper_and_ink() -> None:
    for item in opened("training", labelled=True):
        image = item.samples[0]["image"]
        assert image.shape == (1, 1, 8, 8)
        assert 0 <= image.min() <= image.max() <= 1


def test_a_bitmap_becomes_what_the_data_hold_the_ink_in_blocks_of_4x4_dots() -> None:
    found = load(DIGITS)
    assert found is not None
    assert isinstance(found.preprocess, Image)
    bitmap = np.random.default_rng(0).integers(0, 2, (32, 32), np.uint8) * np.uint8(255)
    ink = (bitmap > 0).reshape(8, 4, 8, 4).sum((1, 3)) / 16
    made = sample(bitmap, found.preprocess)[0, 0]
    assert np.abs(made - ink).max() <= 1.01 / 255  # two roundings to 8 bits, one along each side


@pytest.mark.slow
def test_the_model_reads_the_held_out_digits(model: nn.Module) -> None:
    items = list(opened("evaluation", labelled=True))
    batch = torch.from_numpy(np.concatenate([item.samples[0]["image"] for item in items]))
    labels = np.array([int(item.labels[0]) for item in items])
    with torch.no_grad():
        found = model(batch)["scores"].argmax(1).numpy()
    assert (found == labels).mean() >= 0.97


@pytest.mark.slow
def test_training_again_gives_the_same_weights_and_leaves_the_caller_s_torch_alone(
    model: nn.Module,
) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state(), torch.get_num_threads()
    assert digest(make_model()) == digest(model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_the_model_takes_its_example_inputs(model: nn.Module) -> None:
    example_inputs: Any = load_object("model.py:example_inputs", DIGITS)
    assert model(*example_inputs())["scores"].shape == (2, 10)
