"""Wire files: what goes in comes out, and a damaged one is refused."""

import struct

import numpy as np
import pytest

from edgepack.base.errors import MachineError, SafetyError
from edgepack.runtime import wire
from edgepack.spec.signature import Sample, Signature, TensorSpec

NUMBERS = [
    "float16", "float32", "float64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (1, 0, 4), (1, 1, 1, 1, 1, 2)])
def test_every_dtype_and_shape_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    value = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    (back,) = wire.decode(wire.encode([{"größe": value}]), "test")
    assert back["größe"].dtype == value.dtype
    assert back["größe"].shape == value.shape
    np.testing.assert_array_equal(back["größe"], value)


def test_records_and_tensors_keep_their_order() -> None:
    records: list[Sample] = [{"b": np.ones(3), "a": np.zeros(2)}, {}, {"c": np.arange(100)}]
    back = wire.decode(wire.encode(records), "test")
    assert [list(record) for record in back] == [["b", "a"], [], ["c"]]


def test_foreign_byte_order_and_strides_become_plain() -> None:
    value = np.arange(12, dtype=">i4").reshape(3, 4).T
    (back,) = wire.decode(wire.encode([{"x": value}]), "test")
    assert back["x"].dtype == np.int32
    np.testing.assert_array_equal(back["x"], value)


def test_data_begin_at_multiples_of_64_bytes() -> None:
    data = wire.encode([{"x": np.full(16, 7, np.uint8)}, {"y": np.full(16, 9, np.uint8)}])
    assert data.index(bytes([7] * 16)) % 64 == 0
    assert data.index(bytes([9] * 16)) % 64 == 0


def test_the_decoded_array_is_the_callers_own() -> None:
    (back,) = wire.decode(wire.encode([{"x": np.zeros(4)}]), "test")
    back["x"][0] = 1
    assert back["x"].flags.owndata


def test_strings_are_refused_by_name() -> None:
    with pytest.raises(MachineError, match="'text' has dtype <U2"):
        wire.encode([{"text": np.array(["ab"])}])


def test_a_file_cut_anywhere_is_refused() -> None:
    data = wire.encode([{"x": np.ones((2, 3), np.float32)}, {"x": np.ones(2), "y": np.ones(1)}])
    for length in range(len(data)):
        with pytest.raises(SafetyError, match="truncated"):
            wire.decode(data[:length], "test")


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(SafetyError, match="7 bytes too many"):
        wire.decode(wire.encode([]) + bytes(7), "test")


def test_another_format_is_refused() -> None:
    with pytest.raises(SafetyError, match="not a wire file"):
        wire.decode(b"PK\x03\x04" + bytes(60), "test")


@pytest.mark.parametrize(
    ("offset", "word"),
    [(128, 8), (128, 99), (132, 2**32 - 1), (132, 65), (136, 2**32 - 1), (144, 2**32 - 1)],
    ids=["strings", "no such type", "vast rank", "rank of 65", "vast name", "vast axis"],
)
def test_a_header_that_lies_is_refused(offset: int, word: int) -> None:
    data = bytearray(wire.encode([{"x": np.ones((2, 3), np.float32)}]))
    data[offset : offset + 4] = struct.pack("<I", word)
    with pytest.raises(SafetyError):
        wire.decode(bytes(data), "test")


def test_a_negative_axis_is_refused() -> None:
    data = bytearray(wire.encode([{"x": np.ones((2, 3), np.float32)}]))
    data[144:152] = struct.pack("<q", -2)
    with pytest.raises(SafetyError, match="no possible tensor"):
        wire.decode(bytes(data), "test")


def test_what_cannot_travel_is_known_from_the_signature() -> None:
    number, word = TensorSpec("x", "float16", (1,)), TensorSpec("word", "str", (1,))
    assert wire.refuses(Signature((number,), (number,))) == ""
    for signature in (Signature((number, word), (number,)), Signature((number,), (word,))):
        assert wire.refuses(signature) == "'word' holds strings, which it cannot be given"
