"""Turn a text into numbers of tokens; the same numbers on every machine.

Needs numpy alone: a generated app carries this file as it is. All is done on bytes of UTF-8, so
that it takes no tables of Unicode and can be the same in every language.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LONGEST_WORD = 100
"""Bytes; a longer word is unknown as a whole, as in BERT's tokenizer."""

_WORDS = {
    "ascii": re.compile(rb"[0-9A-Za-z]+"),
    "words": re.compile(rb"[0-9A-Za-z\x80-\xff]+"),
    "wordpiece": re.compile(rb"[0-9A-Za-z\x80-\xff]+|[!-/:-@\[-`{-~]"),
}


class Rule(Protocol):
    """What is to be done; see ``[preprocess]`` of a project."""

    @property
    def length(self) -> int:
        """Tokens that the model takes."""

    @property
    def split(self) -> str:
        """``ascii``, ``words`` or ``wordpiece``."""

    @property
    def unknown(self) -> int:
        """Number of what the vocabulary lacks."""

    @property
    def pad(self) -> int:
        """Number that fills up."""

    @property
    def begin(self) -> int | None:
        """Number of a first token."""

    @property
    def end(self) -> int | None:
        """Number of a last token."""


def read_vocabulary(data: bytes) -> dict[bytes, int]:
    """Number the lines of a vocabulary from 0."""
    return {line: number for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"))}


def sample(
    text: str, rule: Rule, vocabulary: Mapping[bytes, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of a text, and which of them are no padding; both ``(1, length)``.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is a str, got {type(text).__name__}")
    room = rule.length - (rule.begin is not None) - (rule.end is not None)
    found = [] if rule.begin is None else [rule.begin]
    for number in tokens(text, rule, vocabulary):
        if room == 0:
            break
        found.append(number)
        room -= 1
    if rule.end is not None:
        found.append(rule.end)
    numbers = np.full((1, rule.length), rule.pad, np.int64)
    numbers[0, : len(found)] = found
    return numbers, (np.arange(rule.length) < len(found)).astype(np.int64)[np.newaxis]


def tokens(text: str, rule: Rule, vocabulary: Mapping[bytes, int]) -> Iterator[int]:
    """Yield the number of each token, without those at begin and end."""
    for word in _WORDS[rule.split].findall(text.encode().lower()):
        if rule.split == "wordpiece":
            yield from _pieces(word, vocabulary) or [rule.unknown]
        else:
            yield vocabulary.get(word, rule.unknown)


def _pieces(word: bytes, vocabulary: Mapping[bytes, int]) -> list[int]:
    """Return the longest pieces from the left; none where the vocabulary cannot make the word."""
    found: list[int] = []
    at, end = 0, len(word) if len(word) <= LONGEST_WORD else 0
    while at < end:
        piece = (b"##" if at else b"") + word[at:end]
        if piece in vocabulary:
            found.append(vocabulary[piece])
            at, end = end, len(word)
        else:
            end -= 1
    return found if at == len(word) else []
