"""Files of statistics that are damaged or were made to harm."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgepack.base.errors import RequestError, SafetyError
from edgepack.calibration import stored
from edgepack.calibration.statistics import of


@pytest.fixture
def sound() -> bytes:
    seen = {"a": of(np.arange(-3, 5, dtype=np.float32)), "b": of(np.ones(2, np.float32))}
    return stored.encode(
        stored.Record(stored.Key("m", "1", "x86_64"), (b"0" * 16, b"1" * 16), seen)
    )


def bent(sound: bytes, change: Any) -> bytes:
    """Change the record and make its digest right again."""
    record = msgspec.msgpack.decode(sound[len(stored.MAGIC) + 32 :])
    change(record)
    body = msgspec.msgpack.encode(record)
    return stored.MAGIC + hashlib.sha256(body).digest() + body


def tensor(**fields: object) -> Any:
    return lambda record: record["tensors"][0].update(fields)


CODES = np.array([16256, 16257], "<u2").tobytes()

BENT = {
    "a NaN": tensor(low=float("nan")),
    "an infinity": tensor(high=float("inf")),
    "ends the wrong way round": tensor(low=2.0, high=1.0),
    "an odd number of bytes": tensor(codes=b"123"),
    "more bins than counts": tensor(codes=CODES * 9),
    "bins out of order": tensor(codes=CODES[::-1], counts=b"\1\0\0\0\0\0\0\0" * 2),
    "a bin twice": tensor(codes=CODES[:2] * 2, counts=b"\1\0\0\0\0\0\0\0" * 2),
    "a bin of infinities": tensor(codes=b"\x80\x7f", counts=b"\1\0\0\0\0\0\0\0"),
    "a count of zero": tensor(codes=CODES, counts=bytes(16)),
    "a negative count": tensor(codes=CODES, counts=b"\xff" * 16),
    "more than can be counted": tensor(codes=CODES, counts=b"\xff" * 7 + b"\x7f" + bytes(7) + b"@"),
    "a negative peak": tensor(peaks=np.array([-1], "<f4").tobytes()),
    "a peak that is no number": tensor(peaks=np.array([np.nan], "<f4").tobytes()),
    "an unknown field": tensor(extra=1),
    "a field of another type": tensor(low="0"),
    "a number for a float": tensor(low=0),
    "no runs": lambda record: record.update(runs=0),
    "negative runs": lambda record: record.update(runs=-1),
    "more runs than fit": lambda record: record.update(runs=1 << 60),
    "no tensors": lambda record: record.update(tensors=[]),
    "a tensor twice": lambda record: record["tensors"].append(record["tensors"][0]),
    "tensors out of order": lambda record: record["tensors"].reverse(),
    "no samples": lambda record: record.update(items=b""),
    "half a sample": lambda record: record.update(items=b"0" * 24),
    "samples out of order": lambda record: record.update(items=b"1" * 16 + b"0" * 16),
    "no key": lambda record: record.pop("key"),
}


@pytest.mark.parametrize("what", BENT)
def test_a_record_that_cannot_be_is_refused(sound: bytes, what: str) -> None:
    with pytest.raises(SafetyError, match="no sound file"):
        stored.decode(bent(sound, BENT[what]), "bent")


def test_every_cut_and_every_flipped_byte_is_refused(sound: bytes) -> None:
    for at in range(len(sound)):
        with pytest.raises(SafetyError):
            stored.decode(sound[:at], "cut")
        flipped = bytearray(sound)
        flipped[at] ^= 0x41
        with pytest.raises(SafetyError):
            stored.decode(bytes(flipped), "flipped")
    with pytest.raises(SafetyError):
        stored.decode(sound + b"\0", "longer")


def test_what_is_something_else_is_refused_unread(tmp_path: Path) -> None:
    deep = b"\x91" * 100_000
    for body in (b"", b"\x80\x04}\x94\x8c\x01a\x94K\x01s.", stored.MAGIC, deep):
        with pytest.raises(SafetyError):
            stored.decode(body, "other")
    with pytest.raises(SafetyError):
        stored.decode(stored.MAGIC + hashlib.sha256(deep).digest() + deep, "deep")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RequestError):
            stored.load(path)


def test_a_file_larger_than_any_is_not_read_whole(
    sound: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "LARGEST", len(sound) - 1)
    (tmp_path / "large").write_bytes(sound)
    with pytest.raises(SafetyError, match="larger than"):
        stored.load(tmp_path / "large")
