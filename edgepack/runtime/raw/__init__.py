"""What a user has, an image, a text or sound, as a sample; the reference for all languages.

The modules of this folder import nothing of edgepack: generated Python apps carry them as they
are, and what other languages do is held to them bit for bit by each app's self-test.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError
from edgepack.runtime.raw import audio, image, text
from edgepack.spec import preprocess as spec
from edgepack.spec.signature import Sample, Signature

Raw: TypeAlias = npt.ArrayLike | str
"""Pixels (uint8), a text, or samples of sound (int16)."""


class Preprocessor:
    """Makes samples as ``[preprocess]`` of a project says.

    Attributes:
        rule: What it says.
    """

    def __init__(self, rule: spec.Rule, assets: Mapping[str, bytes], signature: Signature) -> None:
        """Prepare for a model that ``rule`` fits; ``assets`` are members of the bundle."""
        self.rule = rule
        self._signature = signature
        self._assets = assets
        self._frames: audio.Frames | None = None
        if isinstance(rule, spec.Audio):
            self._frames = audio.Frames(rule.frame, rule.step)

    @cached_property
    def _words(self) -> dict[bytes, int]:
        assert isinstance(self.rule, spec.Text)
        return text.read_vocabulary(self._assets[f"assets/{self.rule.vocabulary}"])

    @property
    def vocabulary(self) -> list[bytes]:
        """Tokens by number, of a text."""
        return list(self._words)

    def sample(self, raw: Raw) -> Sample:
        """Return what the model takes, state left out; of sound, one whole frame is given.

        Raises:
            DataError: It is no such image, text or frame.
        """
        try:
            return self._sample(raw)
        except (TypeError, ValueError) as error:
            hint = f"give {_WANTED[type(self.rule)]}"
            raise DataError("E-INPUT", str(error), hint=hint) from error

    def next(self, raw: Raw) -> Sample:
        """Return what the model takes next; of sound, the new samples alone are given.

        Raises:
            DataError: As ``sample``.
        """
        if self._frames is None:
            return self.sample(raw)
        try:
            return self._sample(self._frames.push(raw))
        except (TypeError, ValueError) as error:
            raise DataError("E-INPUT", str(error), hint="give one hop of int16 samples") from error

    def reset(self) -> None:
        """Start a new recording."""
        if self._frames is not None:
            self._frames.reset()

    def _sample(self, raw: Any) -> Sample:
        rule, name = self.rule, self.rule.input
        taken = self._signature.input(name)
        if isinstance(rule, spec.Image):
            return {name: image.sample(raw, rule, taken.dtype)}
        if isinstance(rule, spec.Text):
            numbers, mask = text.sample(raw, rule, self._words)
            made = {name: numbers} | ({rule.mask: mask} if rule.mask else {})
            return {k: v.astype(self._signature.input(k).dtype) for k, v in made.items()}
        frame = audio.checked(raw, rule.frame)
        shape = spec.shape(rule, taken)
        return {name: audio.sample(frame, rule.scale).reshape(shape)}


_WANTED = {
    spec.Image: "uint8 pixels, (height, width) or (height, width, 1, 3 or 4)",
    spec.Text: "a str",
    spec.Audio: "a frame of int16 samples",
}


def as_raw(rule: spec.Rule, stored: npt.NDArray[np.generic]) -> Raw:
    """Return a raw example as it is stored among the golden samples, in the form users give."""
    return str(stored) if isinstance(rule, spec.Text) else stored
