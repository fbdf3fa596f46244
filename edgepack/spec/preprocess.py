"""``[preprocess]``: how what a user has, an image, a text or sound, becomes a sample.

Declared once in the project, kept in the bundle as ``preprocess.json``, and carried out alike, bit
for bit, by ``edgepack.load`` and by the generated apps.
"""

from math import isfinite
from typing import Any, Literal, TypeAlias

import msgspec

from edgepack.spec.signature import Signature, TensorSpec

VOCABULARY = "vocabulary.txt"
"""What the vocabulary is called below ``assets/``."""

_WIDEST = 16384
"""Pixels of a side: fixed-point weights and their sums stay within 32 bits far beyond."""
_LONGEST = 1 << 24
"""Samples of a frame, tokens of a text."""


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """One kind of raw input."""


class Image(_Rule, frozen=True, tag="image"):
    """Pixels of 8 bits: grey, RGB or RGBA, rows from the top.

    In this order: channels are made as the model wants them, the image is resized, then
    ``(v * scale - mean) / std`` is computed in double precision for each of the 256 values ``v``
    and rounded to float32 once. All before is integers, so no two machines differ.

    Attributes:
        input: Name of the model's input.
        size: Height and width that the model takes, in pixels.
        channels: ``grey`` is ``0.299 R + 0.587 G + 0.114 B`` (ITU-R BT.601); alpha is dropped.
        layout: ``NCHW``: one plane per channel; ``NHWC``: channels side by side.
        resize: ``none`` refuses other sizes. ``nearest`` takes the pixel under each centre.
            ``bilinear`` and ``area`` are Pillow's ``BILINEAR`` and ``BOX``: shrinking averages
            all pixels that fall into one. The aspect is not kept.
        scale: Factor.
        mean: Subtracted: one number, or one per channel in the model's order.
        std: Divides: one number, or one per channel.
    """

    input: str
    size: tuple[int, int]
    channels: Literal["grey", "RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    resize: Literal["none", "nearest", "bilinear", "area"] = "none"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse sizes and numbers that cannot be meant."""
        if not all(1 <= side <= _WIDEST for side in self.size):
            raise ValueError(f"size must be 1 to {_WIDEST} pixels, got {list(self.size)}")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in {1, self.depth}:
                raise ValueError(f"{name} takes 1 or {self.depth} numbers, got {len(numbers)}")
        if not all(map(isfinite, (self.scale, *self.mean, *self.std))):
            raise ValueError("scale, mean and std must be finite")
        if self.scale == 0 or 0 in self.std:
            raise ValueError("scale and std may not be 0")

    @property
    def depth(self) -> int:
        """Number of channels that the model takes."""
        return 1 if self.channels == "grey" else 3

    @property
    def plain(self) -> bool:
        """Whether pixels keep their values."""
        return self.scale == 1 and set(self.mean) == {0} and set(self.std) == {1}


class Text(_Rule, frozen=True, tag="text"):
    """A text of UTF-8 as numbers of tokens, cut or padded to one length.

    ASCII capitals become small; no accent is taken off, no other alphabet is folded. A word is a
    longest run of letters and digits, where all bytes beyond ASCII count as letters.

    Attributes:
        input: Name of the input that takes the numbers.
        vocabulary: A file of one token per line, UTF-8: the first line is number 0.
        length: Tokens that the model takes, ``begin`` and ``end`` included.
        mask: Name of the input that takes 1 for each token and 0 for padding, where there is one.
        split: ``words`` looks each word up and drops all between them; ``ascii`` is the same, but
            bytes beyond ASCII part words. ``wordpiece`` makes a token of each ASCII punctuation
            mark too, and takes the longest pieces that the vocabulary
            has, the later ones of a word written ``##piece`` there (Wu et al. 2016,
            arXiv:1609.08144, section 4.1); on ASCII it gives what BERT's uncased tokenizer does.
        unknown: Number of what the vocabulary lacks.
        pad: Number that fills up.
        begin: Number of a token before all others, if any.
        end: Number of a token after all others, if any.
    """

    input: str
    vocabulary: str
    length: int
    mask: str | None = None
    split: Literal["ascii", "words", "wordpiece"] = "words"
    unknown: int = 1
    pad: int = 0
    begin: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        """Refuse a length without room, and numbers that no tokens have."""
        fixed = sum(each is not None for each in (self.begin, self.end))
        if not fixed < self.length <= _LONGEST:
            raise ValueError(f"length leaves no room for a token: {self.length}")
        if any(not 0 <= each < 1 << 31 for each in self.specials):
            raise ValueError("unknown, pad, begin and end are numbers of tokens, 0 or more")

    @property
    def specials(self) -> tuple[int, ...]:
        """Numbers that stand for no word of a text."""
        every = (self.unknown, self.pad, self.begin, self.end)
        return tuple(each for each in every if each is not None)


class Audio(_Rule, frozen=True, tag="audio"):
    """One channel of 16-bit samples, in frames that may overlap: ``float32(sample * scale)``.

    Each run takes ``hop`` new samples; the frame begins with the last ones of the frame before,
    zeros at first.

    Attributes:
        input: Name of the model's input.
        rate: Samples per second, for whoever records; nothing is resampled.
        frame: Samples that one run of the model takes.
        hop: New samples per run; left out, frames do not overlap.
        scale: Factor; 2^-15 gives -1 to 1.
    """

    input: str
    rate: int
    frame: int
    hop: int | None = None
    scale: float = 2.0**-15

    def __post_init__(self) -> None:
        """Refuse frames without samples, and hops that leave some out."""
        if not 1 <= self.frame <= _LONGEST:
            raise ValueError(f"frame must be 1 to {_LONGEST} samples, got {self.frame}")
        if self.hop is not None and not 1 <= self.hop <= self.frame:
            raise ValueError(f"hop must be 1 to {self.frame} samples, got {self.hop}")
        if self.rate < 1:
            raise ValueError(f"rate must be 1 or more samples a second, got {self.rate}")
        if not isfinite(self.scale) or self.scale == 0:
            raise ValueError("scale must be finite and not 0")

    @property
    def step(self) -> int:
        """New samples per run."""
        return self.frame if self.hop is None else self.hop


Rule: TypeAlias = Image | Text | Audio


def kind(rule: Rule) -> str:
    """Return ``image``, ``text`` or ``audio``."""
    return str(rule.__struct_config__.tag)


def misfit(rule: Rule, signature: Signature) -> str | None:
    """Return why a rule does not give what a model takes, or None where it does."""
    made = {rule.input} | ({rule.mask} if isinstance(rule, Text) and rule.mask else set())
    fed = {spec.name for spec in signature.fed}
    if odd := sorted(made - fed):
        return f"[preprocess] feeds {odd[0]!r}, and the model takes {', '.join(sorted(fed))}"
    if left := sorted(fed - made):
        return f"[preprocess] feeds nothing to input {left[0]!r}"
    for name in sorted(made):
        spec = signature.input(name)
        if spec.dtype not in _dtypes(rule):
            kinds = " or ".join(_dtypes(rule))
            return f"[preprocess] gives {kinds}, and the model takes {spec}"
        if not _takes(spec, rule):
            return f"[preprocess] gives shape {list(shape(rule, spec))}, and the model takes {spec}"
    return None


def shape(rule: Rule, spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of what a rule makes for an input."""
    if isinstance(rule, Image):
        sides = (rule.depth, *rule.size) if rule.layout == "NCHW" else (*rule.size, rule.depth)
        return (1, *sides)
    if isinstance(rule, Text):
        return 1, rule.length
    # The frame lies along the last axis; axes before it, the batch among them, have length 1.
    return (*(1 for _ in spec.shape[:-1]), rule.frame)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``preprocess.json`` (draft 2020-12)."""
    return msgspec.json.schema(Rule)


def encode(rule: Rule) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, UTF-8, a final newline."""
    return msgspec.json.encode(rule, order="sorted") + b"\n"


def decode(data: bytes) -> Rule:
    """Read what ``encode`` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        rule: Rule = msgspec.json.decode(data, type=Rule)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if encode(rule) != data:
        raise ValueError("not canonical JSON")
    return rule


def _dtypes(rule: Rule) -> tuple[str, ...]:
    if isinstance(rule, Text):
        return "int64", "int32"
    plain = isinstance(rule, Image) and rule.plain
    return ("float32", "uint8") if plain else ("float32",)


def _takes(spec: TensorSpec, rule: Rule) -> bool:
    made = shape(rule, spec)
    pairs = zip(spec.shape, made, strict=False)
    return len(spec.shape) == len(made) and all(not isinstance(w, int) or w == s for w, s in pairs)
