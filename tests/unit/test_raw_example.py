"""Raw inputs that are made by going back from samples of real data."""

import numpy as np
import pytest

from edgepack.base.errors import RequestError
from edgepack.gate.raw import example
from edgepack.runtime.raw import Preprocessor
from edgepack.spec.preprocess import Audio, Image, Text
from edgepack.spec.signature import Signature, TensorSpec

SOUND = Signature((TensorSpec("x", "float32", (1, "samples")),), ())
PICTURE = Signature((TensorSpec("x", "float32", (1, 3, 2, 2)),), ())


@pytest.mark.parametrize("count", [2, 4, 9])
def test_a_frame_is_the_end_of_what_is_heard_with_silence_before(count: int) -> None:
    heard = np.arange(1, count + 1, dtype=np.float32)[None] / 2**15
    raw = example(Preprocessor(Audio("x", 16000, 4), {}, SOUND), {"x": heard})
    assert raw.tolist() == ([0] * 4 + list(range(1, count + 1)))[-4:]


def test_sound_that_was_clipped_to_one_is_16_bit_sound() -> None:
    heard = np.array([[-1, 0, 0.5, 1]], np.float32)
    raw = example(Preprocessor(Audio("x", 16000, 4), {}, SOUND), {"x": heard})
    assert raw.tolist() == [-32768, 0, 16384, 32767]
    with pytest.raises(RequestError, match="the data hold values 1 away from them"):
        example(Preprocessor(Audio("x", 16000, 4), {}, SOUND), {"x": heard * 2})


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_pixels_are_those_that_the_sample_was_made_from(channels: str) -> None:
    rule = Image("x", (2, 2), channels, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(-0.2, 0.2, 0.2))  # type: ignore[arg-type]
    preprocessor = Preprocessor(rule, {}, PICTURE)
    pixels = np.arange(0, 240, 20, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(example(preprocessor, preprocessor.sample(pixels)), pixels)


def test_tokens_beyond_the_vocabulary_are_refused() -> None:
    face = Signature((TensorSpec("x", "int64", (1, 3)),), ())
    words = {"assets/v.txt": b"pad\nunknown\ncat\n"}
    preprocessor = Preprocessor(Text("x", "v.txt", 3), words, face)
    assert str(example(preprocessor, {"x": np.array([[2, 2, 0]])})).startswith("cat Unheard-of")
    with pytest.raises(RequestError, match=r"hold tokens of input 'x' that 'v\.txt' lacks"):
        example(preprocessor, {"x": np.array([[2, 3, 0]])})
