"""Disjoint parts: what a build is fitted on is never what it is judged on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from edgepack.base.errors import DataError
from edgepack.data.lint import Inspection
from edgepack.data.samples import Dataset


@dataclass(frozen=True, slots=True)
class Split:
    """Two parts of one data set.

    Attributes:
        fit: To calibrate on.
        held: To judge on.
        note: A sentence where the parts are not as independent as they should be, else empty.
    """

    fit: Dataset
    held: Dataset
    note: str = ""


def overlap(a: tuple[bytes, ...], b: tuple[bytes, ...]) -> int:
    """Count the items of ``b`` that are also in ``a``, by their digests."""
    known = set(a)
    return sum(digest in known for digest in b)


def refuse_overlap(used: Inspection, evaluation: Inspection) -> None:
    """Refuse an evaluation on samples that were calibrated or trained on.

    Raises:
        DataError: At least one sample is in both, to the last bit.
    """
    if shared := overlap(used.digests, evaluation.digests):
        raise DataError(
            "E-DATA-OVERLAP",
            f"{shared} of {evaluation.items} evaluation samples are {used.role} samples too",
            hint="leave them out of one of the two",
        )


def hold_out(dataset: Dataset, fraction: float = 0.2, seed: int = 0) -> Split:
    """Part a data set by whole groups, drawn at random but the same for the same seed.

    Where there is one group, it is parted inside; one sequence is cut in time, and its second part
    starts from a fresh state. A single sample serves as both. A note says so.

    Args:
        dataset: A pass is taken if there was none yet.
        fraction: Of the items that are to be held out, in (0, 1).
        seed: Of the draw.

    Raises:
        ValueError: ``fraction`` is not inside (0, 1).
        DataError: There are no samples.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"cannot hold out {fraction!r} of the samples")
    contents = dataset.contents
    if not contents.digests:
        raise DataError("E-DATA-EMPTY", f"no samples in {dataset.name!r}")
    if len(set(contents.digests)) == 1:
        return _cut(dataset, fraction)
    note, keys = "", _joined(contents.groups, contents.digests)
    if len(set(keys)) == 1:
        note = "all samples are of one group: the part held out resembles the part fitted on"
        keys = list(contents.digests)
    held = _drawn(keys, fraction, seed)
    rest = set(range(len(keys))) - held
    return Split(dataset.take(rest), dataset.take(held), note)


def _joined(groups: tuple[int, ...], digests: tuple[bytes, ...]) -> list[Hashable]:
    """Join groups that share a sample, so that no repeat ends up on the other side."""
    above: dict[Hashable, Hashable] = {}

    def top(key: Hashable) -> Hashable:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    for group, digest in zip(groups, digests, strict=True):
        above[top(group)] = top(digest)
    return [top(group) for group in groups]


def _drawn(keys: Sequence[Hashable], fraction: float, seed: int) -> set[int]:
    """Draw whole keys until about ``fraction`` of the items is held; never none, never all."""
    members: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    order = np.random.default_rng(seed).permutation(len(members))
    parts = [list(members.values())[index] for index in order]
    wanted = fraction * len(keys)
    held: set[int] = set()
    for part in parts:
        if len(held) + len(part) <= wanted:
            held.update(part)
    return held or set(sorted(parts, key=len)[0])


def _cut(dataset: Dataset, fraction: float) -> Split:
    """Part the one item there is."""
    length = dataset.contents.lengths[0]
    if length == 1:
        return Split(dataset, dataset, "one sample only: judged on what was calibrated on")
    border = min(max(round(length * (1 - fraction)), 1), length - 1)
    first, last = dataset.take([0], slice(0, border)), dataset.take([0], slice(border, None))
    return Split(first, last, "one sequence only: its last part was held out")
