"""Where samples come from: stacked arrays, a folder of files, or Python code.

A source can be iterated any number of times, holds at most one item at a time, and knows nothing
of the model but the names of its inputs. Whether an item fits the model is for ``fitting``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError, RequestError
from edgepack.base.reference import UserCode, load_object
from edgepack.data.arrays import Rows, as_array, members

Array = npt.NDArray[Any]

_LABEL = ("labels", "label")
_GROUP = ("groups", "group")
_END = object()


@dataclass(frozen=True, slots=True)
class Raw:
    """One item as it was given, unchecked.

    Attributes:
        values: ``{input: array}``, a bare array for a model of one input, or, with carried state, a
            list of ``{input: array}``, one per frame.
        label: Absent, or one label, or one per frame.
        group: What the item belongs to (a photograph, a speaker), or absent.
        where: The file, or the reference, for errors.
    """

    values: object
    label: object = None
    group: object = None
    where: str = ""


class Source(Protocol):
    """Items in a fixed order, anew for each pass."""

    def __iter__(self) -> Iterator[Raw]: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """Arrays with one sample (or sequence) per row; ``labels`` and ``groups`` beside them.

    Attributes:
        opened: Gives the arrays by name, for one pass.
        inputs: Names of the model's inputs; ``labels`` among them is an input.
        sequences: Whether a row is a sequence: it then loses the leading axis.
        where: The file, for errors.
    """

    opened: Callable[[], AbstractContextManager[Mapping[str, Array] | dict[str, Rows]]]
    inputs: tuple[str, ...]
    sequences: bool
    where: str

    def __iter__(self) -> Iterator[Raw]:
        with self.opened() as arrays:
            count = self._count(arrays)
            rows = {name: iter(array) for name, array in arrays.items()}
            for _ in range(count):
                values, label, group = _parted(
                    {n: next(row) for n, row in rows.items()}, self.inputs
                )
                if not self.sequences:
                    values = {name: np.asarray(row)[None] for name, row in values.items()}
                yield Raw(_bare(values), label, group, self.where)

    def _count(self, arrays: Mapping[str, Array | Rows]) -> int:
        counts = {name: array.shape[0] if array.shape else None for name, array in arrays.items()}
        if len(set(counts.values())) > 1 or None in counts.values():
            text = ", ".join(f"{name!r}: {count}" for name, count in counts.items())
            raise DataError(
                "E-DATA",
                f"{self.where}: arrays of different numbers of samples ({text})",
                hint="stack samples along axis 0 of every array",
            )
        return next((count for count in counts.values() if count is not None), 0)


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of one sample (or sequence) each, in name order."""

    files: tuple[Path, ...]
    inputs: tuple[str, ...]

    def __iter__(self) -> Iterator[Raw]:
        for path in self.files:
            with members(path) as rows:
                arrays = {name: array.whole() for name, array in rows.items()}
            values, label, group = _parted(arrays, self.inputs)
            yield Raw(_bare(values), label, group, repr(str(path)))


@dataclass(frozen=True, slots=True)
class Code:
    """What a Python object yields: called anew for each pass if it can be called.

    Attributes:
        found: An iterable, or a callable that returns one.
        where: The reference it came from.
        folder: What the reference is relative to.
    """

    found: object
    where: str
    folder: Path

    def __iter__(self) -> Iterator[Raw]:
        with self._running():
            made = self.found() if callable(self.found) else self.found
        if not isinstance(made, Iterable):
            raise DataError(
                "E-DATA-TYPE",
                f"{self.where!r} gives {type(made).__name__}, which cannot be iterated",
                hint="return an iterable of {input: array} or ({input: array}, label)",
            )
        with self._running():
            items = iter(made)
        while True:
            with self._running():  # around the user's code only, never around our caller's
                item = next(items, _END)
            if item is _END:
                return
            yield _interpreted(item, repr(self.where))

    def _running(self) -> UserCode:
        return UserCode(self.where, self.folder, DataError)


def find_source(ref: object, inputs: tuple[str, ...], folder: Path, *, sequences: bool) -> Source:
    """Return the source that a data reference of the contract names.

    Raises:
        RequestError: A path is missing or of no known kind, or the reference names no object.
        DataError: A folder holds no data files.
    """
    if isinstance(ref, Path):
        ref = str(ref)
    if isinstance(ref, str):
        return _named(ref, inputs, folder, sequences=sequences)
    if isinstance(ref, Mapping | np.ndarray):
        held = {"arr_0": ref} if isinstance(ref, np.ndarray) else ref
        arrays = {str(name): as_array(value) for name, value in held.items()}
        return Stack(lambda: nullcontext(arrays), inputs, sequences, "the arrays given")
    if isinstance(ref, Iterator):
        ref = list(ref)  # it can be read only once, and every use of the data is a pass
    return Code(ref, "samples", folder)


def _named(ref: str, inputs: tuple[str, ...], folder: Path, *, sequences: bool) -> Source:
    path = folder / ref
    try:
        if path.is_dir():
            return Folder(_files(path), inputs)
        if path.is_file() and path.suffix in {".npz", ".npy"}:
            return Stack(lambda: members(path), inputs, sequences, repr(str(path)))
        exists = path.exists()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            "E-PATH", f"cannot read {ref!r}: {reason}", hint="look at the path and its permissions"
        ) from error
    if ":" in ref and not exists:
        return Code(load_object(ref, folder), ref, folder)
    what = "is no data file" if exists else "does not exist"
    raise RequestError(
        "E-PATH", f"{ref!r} {what}", hint="give data.npz, a folder of .npz or .npy, or file.py:name"
    )


def _files(folder: Path) -> tuple[Path, ...]:
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = tuple(path for path in found if path.suffix in {".npz", ".npy"} and path.is_file())
    if not files:
        others = ", ".join(sorted({path.suffix or path.name for path in found})[:5])
        raise DataError(
            "E-DATA-EMPTY",
            f"no .npz or .npy file in {str(folder)!r}" + (f", only {others}" if others else ""),
            hint="raw files become samples through file.py:name"
            if others
            else "put one .npz file per sample there, an array for each input",
        )
    return files


def _parted(
    arrays: Mapping[str, Array], inputs: tuple[str, ...]
) -> tuple[dict[str, Array], Array | None, Array | None]:
    """Part inputs from label and group; a name the model uses for an input is an input."""
    values = dict(arrays)
    extra: list[Array | None] = []
    for names in (_LABEL, _GROUP):
        name = next((name for name in names if name in values and name not in inputs), None)
        extra.append(None if name is None else values.pop(name))
    return values, extra[0], extra[1]


def _bare(values: dict[str, Array]) -> dict[str, Array] | Array:
    """``np.savez(path, array)`` and ``.npy`` files leave the name out."""
    return values["arr_0"] if set(values) == {"arr_0"} else values


def _interpreted(item: object, where: str) -> Raw:
    """Part what a user's iterable yields: values, (values, label) or (values, label, group)."""
    if isinstance(item, tuple | list) and len(item) in (2, 3) and not isinstance(item[1], Mapping):
        return Raw(item[0], item[1], item[2] if len(item) == 3 else None, where)
    return Raw(item, where=where)
