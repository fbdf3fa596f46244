"""Recorded speech between silence, noise and music, labelled by construction, 16 kHz.

The recordings are Asterisk's prompts and its music on hold. Four voice folders of three people
train; two other people, who speak another language, and other music are evaluated. A label is 1
where a prompt is heard, its inner pauses included, so no detector reaches an AUC of 1.

Licences CC-BY-SA-3.0 and CC-BY-3.0; whom to credit stands in ``copyright`` of each package.

What these data cannot show: five people in studios, 8 kHz (nothing above 4 kHz reaches the
network), no room, no street, no two voices at once. A detector for those needs recordings of them.
"""

import os
import re
import wave
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

Audio: TypeAlias = npt.NDArray[np.float32]
Frames: TypeAlias = npt.NDArray[np.int64]
Sample: TypeAlias = dict[str, Audio]

FOLDER = Path(os.environ.get("ASTERISK", "/usr/share/asterisk"))
PROMPTS = int(os.environ.get("ASTERISK_PROMPTS", "300"))  # of each voice, at most
PACKAGES = (
    "apt-get install asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav "
    "asterisk-core-sounds-fr-wav asterisk-core-sounds-ru-wav asterisk-core-sounds-it-wav "
    "asterisk-prompt-it-menardi-wav asterisk-moh-opsound-wav"
)
TRAINING = ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June", "ru_RU_f_IvrvoiceRU")
EVALUATION = ("it_IT_f_Menardi", "it_IT_m_Carlo")
MUSIC = {TRAINING: "macroform-*.wav", EVALUATION: "*o_*.wav"}  # by other artists
NO_SPEECH = re.compile(r"silence|beep|tone|monkeys")  # in the name of a prompt or its folder
RATE = 16_000
PACES = (6, 7, 8, 9, 11, 12, 14, 16)  # tenths of its own, of music to train on
FRAME = 512  # samples of a decision, 32 ms
PAST = 13  # frames before it that the network hears
CALIBRATION = 10  # every tenth training sequence


def training() -> Iterator[tuple[Sample, Frames]]:
    """Yield sequences and a label for each frame."""
    for number, (audio, labels) in enumerate(_sequences(TRAINING)):
        if number % CALIBRATION:
            yield {"audio": heard(audio)}, labels


def calibration() -> Iterator[Sample]:
    """Yield sequences that show the ranges of activations; their labels are not used."""
    for audio, _ in _sequences(TRAINING)[::CALIBRATION]:
        yield {"audio": heard(audio)}


def evaluation() -> Iterator[tuple[Sample, Frames, int]]:
    """Yield sequences of unheard people, a label for each frame, and the number of the sequence."""
    for number, (audio, labels) in enumerate(_sequences(EVALUATION)):
        yield {"audio": heard(audio)}, labels, number


def heard(audio: Audio) -> Audio:
    """Return a sequence with the silence before it, shape ``(1, (PAST + frames) * FRAME)``."""
    return np.concatenate([np.zeros(PAST * FRAME, np.float32), audio])[None]


@cache
def _sequences(voices: tuple[str, ...]) -> tuple[tuple[Audio, Frames], ...]:
    """Return a gap with the prompt after it, and the labels, for each prompt of these voices."""
    rng = np.random.default_rng(0)
    music = [_read(path) for path in _found(FOLDER / "moh", MUSIC[voices])]
    if voices == TRAINING:  # three pieces are few; faster and slower they are more
        slower = [resample_poly(track, 10, pace) for track in music for pace in PACES]
        music += [np.asarray(track, np.float32) for track in slower]
    prompts = (prompt for voice in voices for prompt in islice(_prompts(voice, rng), PROMPTS))
    return tuple(_sequence(prompt, music, rng) for prompt in prompts)


def _prompts(voice: str, rng: np.random.Generator) -> Iterator[Audio]:
    """Yield what a voice says for a second or longer, in an order drawn at random."""
    folder = FOLDER / "sounds" / voice
    found = _found(folder, "**/*.wav")
    paths = [path for path in found if not NO_SPEECH.search(str(path.relative_to(folder)))]
    for index in rng.permutation(len(paths)):
        prompt = _trimmed(_read(paths[index]))
        if len(prompt) > RATE:
            yield prompt


def _sequence(
    prompt: Audio, music: Sequence[Audio], rng: np.random.Generator
) -> tuple[Audio, Frames]:
    """Join a gap of one to two seconds and a prompt, at a level drawn at random."""
    length = int(rng.integers(RATE, 2 * RATE))
    kind = rng.integers(3)
    if kind == 2:
        track = music[int(rng.integers(len(music)))]
        start = rng.integers(len(track) - length)
        gap = track[start : start + length]
        gap = gap * (0.3 / max(float(np.abs(gap).max()), 0.01))
    else:
        gap = rng.normal(0, (0.001, 0.03)[kind], length).astype(np.float32)
    speech = prompt * (0.5 / np.abs(prompt).max()) + rng.normal(0, 0.003, len(prompt))
    level = 10 ** rng.uniform(-0.8, 0.2)
    audio = np.clip(np.concatenate([gap, speech]) * level, -1, 1).astype(np.float32)
    frames = len(audio) // FRAME
    spoken = np.arange(frames * FRAME).reshape(frames, FRAME) >= length
    return audio[: frames * FRAME], (spoken.mean(1) > 0.5).astype(np.int64)


def _trimmed(audio: Audio) -> Audio:
    """Cut what is 35 dB below the loudest 10 ms off both ends."""
    step = RATE // 100
    power = (audio[: len(audio) // step * step].reshape(-1, step) ** 2).mean(1)
    loud = np.flatnonzero(power > power.max() * 10**-3.5) if len(power) else power
    return audio[loud[0] * step : (loud[-1] + 1) * step] if len(loud) else audio[:0]


def _read(path: Path) -> Audio:
    with wave.open(str(path)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    mono = audio.reshape(-1, channels).mean(1) / 32768
    return np.asarray(resample_poly(mono, RATE, rate), np.float32)


def _found(folder: Path, pattern: str) -> list[Path]:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(
            f"no recordings in {folder}: {PACKAGES}, or set ASTERISK to the folder that holds "
            "sounds and moh"
        )
    return paths
