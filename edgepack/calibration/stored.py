"""Statistics as a file: saved on one machine, merged on another, resumed a day later.

A file is one line of text, the SHA-256 of what follows, and a MessagePack record. It holds numbers
and names alone; whatever is not exactly what ``encode`` writes is refused. The record says which
graph was measured, on which samples, by which runtime, so that only like is merged with like.
"""

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import msgspec
import numpy as np

from edgepack.base.errors import DataError, RequestError, SafetyError
from edgepack.base.files import beside
from edgepack.calibration.histogram import BINS, Histogram, all_finite
from edgepack.calibration.statistics import Statistics
from edgepack.runtime.session import version

MAGIC = b"edgepack statistics 1\n"

LARGEST = 1 << 28
"""Bytes of a file: a tensor takes about 20 kB."""

_MOST_VALUES = 1 << 53
"""Values in one histogram: beyond, float64 no longer counts them one by one."""

_DIGEST = 32
_ITEM = 16


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be equal for statistics to be merged.

    Attributes:
        model: SHA-256 of the graph that was measured, after the lossless steps of a recipe.
        runtime: Version of ONNX Runtime; another one may round differently.
        arch: Of the CPU, for the same reason.
    """

    model: str
    runtime: str
    arch: str


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    low: float
    high: float
    codes: bytes
    counts: bytes
    peaks: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Key
    runs: int
    items: bytes
    tensors: tuple[_Tensor, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Statistics with what they are of.

    Attributes:
        key: The graph and what ran it.
        items: 16-byte digest of each sample, ascending: the same for the same samples in any order.
        tensors: By name.
    """

    key: Key
    items: tuple[bytes, ...]
    tensors: Mapping[str, Statistics]

    @property
    def runs(self) -> int:
        """Number of times that the model was run."""
        return next((each.count for each in self.tensors.values()), 0)


def key_of(model: bytes) -> Key:
    """Return the key for a graph that is measured on this machine."""
    return Key(hashlib.sha256(model).hexdigest(), version(), platform.machine())


def merge(records: Sequence[Record]) -> Record:
    """Add up statistics of one graph over several shards of the data.

    Raises:
        DataError: They are of different graphs, tensors or runtimes, or one holds all samples of
            another.
    """
    first = records[0]
    for other in records[1:]:
        _refuse_unlike(first, other)
    for index, one in enumerate(records):
        for other in records[index + 1 :]:
            small, large = sorted((one.items, other.items), key=len)
            if set(small) <= set(large):
                raise DataError(
                    "E-STATS-TWICE",
                    f"{len(small)} samples would be counted twice: they are all in another file",
                    hint="give each shard once",
                )
    tensors = {
        name: reduce(add, (record.tensors[name] for record in records)) for name in first.tensors
    }
    items = sorted(item for record in records for item in record.items)
    return Record(first.key, tuple(items), tensors)


def encode(record: Record) -> bytes:
    """Spell a record out; equal records give equal bytes."""
    tensors = tuple(
        _Tensor(
            name,
            each.low,
            each.high,
            each.histogram.codes.astype("<u2").tobytes(),
            each.histogram.counts.astype("<i8").tobytes(),
            each.peaks.astype("<f4").tobytes(),
        )
        for name, each in sorted(record.tensors.items())
    )
    body = msgspec.msgpack.encode(_File(record.key, record.runs, b"".join(record.items), tensors))
    return MAGIC + hashlib.sha256(body).digest() + body


def load(path: Path) -> Record:
    """Read a file of statistics.

    Raises:
        RequestError: There is no such file.
        SafetyError: It is something else, damaged, or too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {reason.lower()}", hint=beside(path)
        ) from error
    return decode(data, str(path))


def is_one(path: Path) -> bool:
    """Whether a file begins as statistics do; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def refuse_foreign(record: Record, where: str) -> None:
    """Refuse statistics that another runtime, or another kind of CPU, measured.

    Raises:
        DataError: They are; sums of floats may have been rounded in another way.
    """
    here = key_of(b"")
    for what, theirs, ours in (
        ("onnxruntime", record.key.runtime, here.runtime),
        ("the architecture", record.key.arch, here.arch),
    ):
        if theirs != ours:
            raise DataError(
                "E-STATS-KEY",
                f"{where!r} was measured with {what} {theirs}, here it is {ours}",
                hint="calibrate again here: edgepack calibrate --save",
            )


def decode(data: bytes, where: str) -> Record:
    """Read statistics from bytes; ``where`` names them in errors.

    Raises:
        SafetyError: They are not what ``encode`` writes.
    """
    if len(data) > LARGEST:
        raise SafetyError("E-CAP", f"{where!r} is larger than {LARGEST} bytes")
    if not data.startswith(MAGIC):
        raise _odd(where, "it begins differently")
    digest, body = data[len(MAGIC) :][:_DIGEST], data[len(MAGIC) + _DIGEST :]
    if hashlib.sha256(body).digest() != digest:
        raise _odd(where, "its digest does not hold")
    try:
        file = msgspec.msgpack.decode(body, type=_File)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _odd(where, str(error)) from error
    items = tuple(file.items[at : at + _ITEM] for at in range(0, len(file.items), _ITEM))
    tensors = {each.name: _statistics(each, file.runs, where) for each in file.tensors}
    record = Record(file.key, items, tensors)
    if not tensors or encode(record) != data:  # order, repeats, odd lengths: one spelling alone
        raise _odd(where, "it is spelled in a way that is never written")
    if list(items) != sorted(items) or not items:
        raise _odd(where, "its samples are not in order")
    return record


def _statistics(stored: _Tensor, runs: int, where: str) -> Statistics:
    """Return the statistics of one tensor, every number checked."""
    odd = len(stored.codes) % 2 or len(stored.counts) % 8 or len(stored.peaks) % 4
    if odd or len(stored.codes) * 4 != len(stored.counts) or len(stored.codes) > 2 * BINS:
        raise _odd(where, f"the lengths in {stored.name!r} do not fit")
    codes = np.frombuffer(stored.codes, "<u2").astype(np.uint16)
    counts = np.frombuffer(stored.counts, "<i8").astype(np.int64)
    peaks = np.frombuffer(stored.peaks, "<f4").astype(np.float32)
    low, high = stored.low, stored.high
    ends = np.array([low, high, *peaks])
    sound = (
        0 < runs <= _MOST_VALUES
        and np.isfinite(ends).all()
        and low <= high
        and all_finite(codes)
        and (np.diff(codes.astype(np.int64)) > 0).all()
        and ((counts > 0) & (counts <= _MOST_VALUES)).all()
        and counts.astype(np.float64).sum() <= _MOST_VALUES
        and (peaks >= 0).all()
    )
    if not sound:
        raise _odd(where, f"the numbers of {stored.name!r} cannot be")
    return Statistics(runs, low, high, Histogram(codes, counts), peaks)


def _refuse_unlike(one: Record, other: Record) -> None:
    pairs: Iterable[tuple[str, object, object]] = (
        ("graphs", one.key.model, other.key.model),
        ("versions of the runtime", one.key.runtime, other.key.runtime),
        ("architectures", one.key.arch, other.key.arch),
        ("sets of tensors", set(one.tensors), set(other.tensors)),
    )
    for what, a, b in pairs:
        if a != b:
            raise DataError(
                "E-STATS-KEY",
                f"statistics of different {what} do not merge",
                hint="calibrate all shards with the same model, recipe and runtime",
            )


def _odd(where: str, reason: str) -> SafetyError:
    return SafetyError(
        "E-STATS",
        f"{where!r} is no sound file of statistics: {reason}",
        hint="copy it again, or calibrate again",
    )
