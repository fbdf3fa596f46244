"""A data set: items that fit the model, in a fixed order, one at a time."""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError
from edgepack.data.fitting import fit
from edgepack.data.sources import Source, find_source
from edgepack.spec.signature import Sample, Signature

_EVERY = slice(None)


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a source belongs to a data set.

    Attributes:
        indices: Positions of items in the source; None for all.
        frames: Of each item.
        digests: Of the items, as far as a pass over the whole has met them.
    """

    indices: frozenset[int] | None = None
    frames: slice = field(default_factory=lambda: _EVERY)
    digests: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """What is drawn, split and resampled as one.

    Attributes:
        samples: Stateless: one sample. With carried state: the frames of one sequence, which never
            contain the state.
        labels: One per sample, or none.
        group: Items of one group (a photograph, a speaker) are not independent of each other.
        where: Which item this is, for errors.
    """

    samples: tuple[Sample, ...]
    labels: tuple[npt.NDArray[Any], ...]
    group: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a whole pass over a data set has seen.

    Attributes:
        digests: 16 bytes per item over names, dtypes, shapes and bytes of its samples.
        groups: Group of each item.
        lengths: Samples in each item.
        sha256: Over samples and labels in order, the same for the same content in any form.
    """

    digests: tuple[bytes, ...]
    groups: tuple[int, ...]
    lengths: tuple[int, ...]
    sha256: str


@dataclass(slots=True)
class _Record:
    """What a pass has seen so far."""

    digests: list[bytes] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    sha256: Any = field(default_factory=hashlib.sha256)

    def add(self, item: Item) -> bytes:
        digest = _digest(item.samples)
        self.digests.append(digest[:16])
        self.groups.append(item.group)
        self.lengths.append(len(item.samples))
        self.sha256.update(digest)
        for label in item.labels:
            self.sha256.update(_bytes("label", label))
        return digest[:16]

    def whole(self) -> Contents:
        return Contents(
            tuple(self.digests), tuple(self.groups), tuple(self.lengths), self.sha256.hexdigest()
        )


class Dataset:
    """Items of a data reference; each iteration is a new pass and reads them again.

    The first whole pass is remembered as digests. A later one that meets other samples is an
    error: outputs of two models are compared sample by sample, so a shuffled or unseeded source
    would compare different things.
    """

    def __init__(
        self,
        source: Source,
        signature: Signature,
        name: str,
        *,
        labelled: bool,
        part: _Part | None = None,
    ) -> None:
        self.name = name
        self.labelled = labelled
        self._source = source
        self._signature = signature
        self._part = part or _Part()
        self._contents: Contents | None = None

    def __iter__(self) -> Iterator[Item]:
        seen = _Record()
        known = self._contents.digests if self._contents else self._part.digests
        for index, item in enumerate(self._picked()):
            digest = seen.add(item)
            if known is not None and known[index : index + 1] != (digest,):
                raise self._changed(item.where)
            yield item
        if known is not None and len(seen.digests) != len(known):
            raise self._changed(f"the end of {self.name!r}")
        self._contents = self._contents or seen.whole()

    def __len__(self) -> int:
        """Return the number of items; takes a pass if there was none yet (``list`` asks for it)."""
        return len(self.contents.digests)

    @property
    def contents(self) -> Contents:
        """Digests, groups and lengths of all items; takes a pass if there was none yet."""
        if self._contents is None:
            for _ in self:
                pass
        assert self._contents is not None
        return self._contents

    @property
    def sha256(self) -> str:
        """Digest of the content; takes a pass if there was none yet."""
        return self.contents.sha256

    def take(self, indices: Iterable[int], frames: slice = _EVERY) -> "Dataset":
        """Return the items at ``indices``, in the order of this data set.

        Args:
            indices: Positions of items, from 0.
            frames: Which frames of each, where items are sequences.

        Raises:
            ValueError: This data set is itself cut to some frames.
        """
        if self._part.frames != _EVERY:
            raise ValueError("a data set is cut to frames only once")
        wanted = sorted({operator.index(index) for index in indices})
        digests = None
        if self._contents and frames == _EVERY:
            digests = tuple(self._contents.digests[index] for index in wanted)
        if self._part.indices is not None:
            order = sorted(self._part.indices)
            wanted = [order[index] for index in wanted]
        part = _Part(frozenset(wanted), frames, digests)
        return Dataset(self._source, self._signature, self.name, labelled=self.labelled, part=part)

    def _picked(self) -> Iterator[Item]:
        wanted, frames = self._part.indices, self._part.frames
        for index, item in enumerate(self._all()):
            if wanted is None or index in wanted:
                yield Item(item.samples[frames], item.labels[frames], item.group, item.where)

    def _all(self) -> Iterator[Item]:
        groups: dict[object, int] = {}
        count = 0
        for raw in self._source:
            first = f"sample {count} ({raw.where})"
            for fitted in fit(raw, self._signature, first, labelled=self.labelled):
                key = ("alone", count) if fitted.group is None else ("given", fitted.group)
                group = groups.setdefault(key, len(groups))
                where = f"sample {count} ({raw.where})"
                yield Item(fitted.samples, fitted.labels, group, where)
                count += 1

    def _changed(self, where: str) -> DataError:
        return DataError(
            "E-DATA-CHANGED",
            f"{where}: not the sample that the first pass over the data met there",
            hint="seed what is random, do not shuffle, and leave the files alone during a build",
        )


def open_dataset(
    ref: object, signature: Signature, *, labelled: bool, folder: Path = Path()
) -> Dataset:
    """Open a data reference of the contract; samples are read when iterated.

    Args:
        ref: ``data.npz``, a folder, ``file.py:name`` or ``pkg.module:name``; from Python also an
            iterable of items, a callable that returns one, or arrays of stacked samples. An
            iterator, which can be read only once, is kept in memory.
        signature: Of the model; with ``state`` items are sequences.
        labelled: Whether labels are asked for (evaluation); if not, given ones are ignored.
        folder: What a relative reference is relative to.

    Raises:
        RequestError: The path is missing, or the reference names no object.
        DataError: A folder holds no data files.
    """
    inputs = tuple(spec.name for spec in signature.inputs)
    source = find_source(ref, inputs, folder, sequences=bool(signature.state))
    name = str(ref) if isinstance(ref, str | Path) else "samples"
    return Dataset(source, signature, name, labelled=labelled)


def _digest(samples: tuple[Sample, ...]) -> bytes:
    state = hashlib.sha256()
    for sample in samples:
        for name, array in sample.items():
            state.update(_bytes(name, array))
    return state.digest()


def _bytes(name: str, array: npt.NDArray[Any]) -> bytes:
    """Spell an array out, strings free of the width that numpy pads them to."""
    if array.dtype.kind == "U":
        body = b"".join(
            len(t := str(text).encode()).to_bytes(8, "little") + t for text in array.flat
        )
        return f"{name}:str:{array.shape};".encode() + body
    return (
        f"{name}:{array.dtype.name}:{array.shape};".encode() + np.ascontiguousarray(array).tobytes()
    )


def first_runs(items: Iterable[Item], most: int) -> Iterator[Item]:
    """Yield items without labels until there are ``most`` runs, the last item cut."""
    left = most
    for item in items:
        if left <= 0:
            return
        yield Item(item.samples[:left], (), item.group, item.where)
        left -= len(item.samples)
