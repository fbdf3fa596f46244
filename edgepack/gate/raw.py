"""A raw input for the golden samples: what an image, a text or sound would be for a real sample.

It is made by going back from a sample of the user's data, which also shows whether the declared
preprocessing can be the one that made those data.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import RequestError
from edgepack.runtime.raw import Preprocessor, image
from edgepack.spec.preprocess import Audio, Image, Rule, Text
from edgepack.spec.signature import Sample

Array = npt.NDArray[np.generic]

_FRAMES = 3
"""Of a recording, beside the raw example."""

_SLACK = 1.01
"""Of half a step: samples made in float32, or from pixels that were resized as floats."""


def example(preprocessor: Preprocessor, sample: Sample | None) -> Array:
    """Return one raw input in the form that golden samples store.

    Args:
        preprocessor: Says what raw inputs are.
        sample: Real, or None where there are no data.

    Raises:
        RequestError: No raw input gives such a sample: another preprocessing made the data.
    """
    rule = preprocessor.rule
    if isinstance(rule, Image):
        return _image(rule, None if sample is None else sample[rule.input])
    if isinstance(rule, Audio):
        return _audio(rule, None if sample is None else sample[rule.input])
    return np.array(_text(rule, preprocessor, None if sample is None else sample[rule.input]))


def _image(rule: Image, sample: Array | None) -> Array:
    height, width = rule.size
    if sample is None:
        rows, columns, planes = np.ogrid[:height, :width, : rule.depth]
        pixels = (rows * 7 + columns * 13 + planes * 29).astype(np.uint8)
    else:
        planes = sample[:1].transpose(0, 2, 3, 1)[0] if rule.layout == "NCHW" else sample[0]
        pixels = _pixels(rule, planes)
        pixels = pixels[:, :, ::-1] if rule.channels == "BGR" else pixels
    if rule.resize != "none":  # taller and narrower, so that resizing is tested both ways
        tall, narrow = height + height // 3 + 1, max(1, width - width // 4)
        pixels = pixels[image.nearest(height, tall)][:, image.nearest(width, narrow)]
    return np.ascontiguousarray(pixels)


def _pixels(rule: Image, planes: Array) -> npt.NDArray[np.uint8]:
    """Return the pixels nearest to the values of a sample, shape ``(height, width, depth)``."""
    if planes.dtype == np.uint8:
        return planes.astype(np.uint8)
    found = np.empty(planes.shape, np.uint8)
    for plane, row in enumerate(image.table(rule, rule.depth).astype(np.float64)):
        values = planes[:, :, plane].astype(np.float64)
        codes = np.rint((values - row[0]) / (row[255] - row[0]) * 255).clip(0, 255).astype(np.uint8)
        _near(rule, np.abs(row[codes] - values).max(), abs(row[1] - row[0]), row[[0, 255]])
        found[:, :, plane] = codes
    return found


def _audio(rule: Audio, sample: Array | None) -> Array:
    if sample is None:
        return (np.arange(rule.frame) * 257 % 65536 - 32768).astype(np.int16)
    # The model may hear more at once than a frame, or less: the end of it, silence before.
    values = np.zeros(rule.frame)
    heard = sample.astype(np.float64).ravel()[-rule.frame :]
    values[rule.frame - len(heard) :] = heard
    codes = np.rint(values / rule.scale).clip(-32768, 32767)
    ends = np.array([-32768, 32767]) * rule.scale
    # A whole step: data that were clipped to 1 reach one step beyond the largest code.
    _near(rule, np.abs(codes * rule.scale - values).max(), 2 * abs(rule.scale), ends)
    return codes.astype(np.int16)


def frames(rule: Audio, sample: Array) -> list[Array]:
    """Return parts of a recording that is longer than a frame, each one frame from another place.

    The golden samples need some: recordings of other lengths cannot stand among them.
    """
    room = sample.shape[-1] - rule.frame
    starts = [room * part // _FRAMES for part in range(_FRAMES)] if room > 0 else []
    return [sample[..., start : start + rule.frame] for start in starts]


def _near(rule: Rule, gap: float, step: float, ends: npt.NDArray[np.float64]) -> None:
    """Refuse a sample that lies further from what raw input can give than rounding explains."""
    if not gap <= step / 2 * _SLACK:
        low, high = sorted(map(float, ends))
        raise RequestError(
            "E-PREPROCESS",
            f"[preprocess] gives input {rule.input!r} values from {low:.4g} to {high:.4g}, and the "
            f"data hold values {gap:.3g} away from them",
            hint="let scale, mean and std say what the data were made with",
        )


def _text(rule: Text, preprocessor: Preprocessor, sample: Array | None) -> str:
    """Return the words of a sample, then what no vocabulary has, capitals, marks and accents."""
    words = preprocessor.vocabulary
    numbers: Any = range(min(rule.length, len(words))) if sample is None else sample.ravel()
    if not all(0 <= number < len(words) for number in numbers):
        raise RequestError(
            "E-PREPROCESS",
            f"the data hold tokens of input {rule.input!r} that {rule.vocabulary!r} lacks",
            hint="let vocabulary name the file that the data were made with",
        )
    said = [words[number] for number in numbers if number not in rule.specials]
    kept = " ".join(word.decode() for word in said[: rule.length // 2]).replace(" ##", "")
    return f"{kept} Unheard-of: Ünheard, 42!"
