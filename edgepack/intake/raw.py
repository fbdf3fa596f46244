"""How raw input becomes a sample, as the project declares it: read and checked before any work."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgepack.base.errors import RequestError
from edgepack.bundle.rules import PREPROCESS
from edgepack.data.samples import Item
from edgepack.gate.golden import First
from edgepack.gate.raw import example, frames
from edgepack.runtime.raw import Preprocessor, as_raw
from edgepack.spec.preprocess import VOCABULARY, Audio, Rule, Text, encode, misfit
from edgepack.spec.signature import Sample, Signature

_LARGEST = 64 << 20
"""Bytes of a vocabulary; that of a large multilingual model has 5 million."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The preprocessing of a project.

    Attributes:
        rule: As the bundle stores it.
        assets: Member name -> content.
    """

    rule: Rule
    assets: Mapping[str, bytes]

    @property
    def members(self) -> dict[str, bytes]:
        """What joins the bundle."""
        return {PREPROCESS: encode(self.rule), **self.assets}


def load(rule: Rule | None, folder: Path) -> Declared | None:
    """Read what a rule names, relative to the folder of the project.

    Raises:
        RequestError: The vocabulary is not there, or is none.
    """
    if rule is None or not isinstance(rule, Text):
        return None if rule is None else Declared(rule, {})
    lines = _lines(folder / rule.vocabulary)
    if odd := [number for number in rule.specials if number >= len(lines)]:
        raise _unfit(f"token {odd[0]} is beyond the {len(lines)} lines of {rule.vocabulary!r}")
    stored = msgspec.structs.replace(rule, vocabulary=VOCABULARY)
    return Declared(stored, {f"assets/{VOCABULARY}": b"\n".join(lines) + b"\n"})


def require(declared: Declared | None, signature: Signature) -> None:
    """Refuse a rule that does not give what the model takes.

    Raises:
        RequestError: It does not.
    """
    if declared is not None and (reason := misfit(declared.rule, signature)):
        raise _unfit(reason)


def first(declared: Declared, signature: Signature, real: Sample | None) -> First:
    """Return a golden sample made from raw input that resembles a real sample.

    Raises:
        RequestError: No raw input gives such a sample.
    """
    preprocessor = Preprocessor(declared.rule, declared.assets, signature)
    raw = example(preprocessor, real)
    samples: list[Sample] = [preprocessor.sample(as_raw(declared.rule, raw))]
    if isinstance(declared.rule, Audio) and real is not None:
        name = declared.rule.input
        samples += [{name: part} for part in frames(declared.rule, real[name])]
    item = Item(tuple(samples), (), 0, "the raw example")
    return First(item, {declared.rule.input: raw[np.newaxis]})


def _lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        data.decode()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise _unfit(f"cannot read the vocabulary {str(path)!r}: {reason.lower()}") from error
    lines = data.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    if len(data) > _LARGEST:
        raise _unfit(f"the vocabulary {str(path)!r} has more than {_LARGEST} bytes")
    seen: set[bytes] = set()
    for number, line in enumerate(lines):
        if line in seen:
            raise _unfit(f"line {number + 1} of {str(path)!r} repeats {line.decode()!r}")
        seen.add(line)
    return lines


def _unfit(reason: str) -> RequestError:
    return RequestError("E-PREPROCESS", reason, hint="edgepack.toml: look at [preprocess]")
