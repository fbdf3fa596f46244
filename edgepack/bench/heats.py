"""One model at many session options: each heat a fresh process, on this machine or on another."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from string import ascii_letters
from typing import TypeAlias

from edgepack.bench.record import Options
from edgepack.bench.scenario import Single
from edgepack.bench.subject import Subject
from edgepack.bench.visit import visit
from edgepack.bench.worker import Job
from edgepack.devices import Opened, Timer, Timing, Turns
from edgepack.runtime.remote.refusals import LostError

Times: TypeAlias = Mapping[str, Sequence[float]]
"""Clock -> seconds of each run."""

Heat: TypeAlias = Callable[[Options, tuple[int, float]], Times]
"""Times a fresh session at some options, for at most so many runs and about so many seconds."""

_WARMUP = 3
_HUNG = 120.0  # seconds of silence
_FEWEST = 3  # runs of a heat, however slow the model


def heats(
    subject: Subject, tried: Sequence[Options], device: Timing | None
) -> AbstractContextManager[Heat]:
    """Lay out a model for as long as it is open.

    Args:
        subject: The model.
        tried: All options that may be asked for; the first tell how slow the model is.
        device: Where; None for this machine.

    Raises:
        MachineError: There is no room for it.
    """
    return _here(subject) if device is None else _there(subject, tried, device)


@contextmanager
def _here(subject: Subject) -> Iterator[Heat]:
    with tempfile.TemporaryDirectory(prefix="edgepack-tune-") as name:
        folder = Path(name)
        subject.lay_out(folder)

        def heat(options: Options, limit: tuple[int, float]) -> Times:
            how = Single(warmup=_WARMUP)
            job = Job("model.onnx", options, "samples.npz", subject.names, how, limit)
            lines = visit(job, folder, limit=_HUNG + 20 * limit[1])
            parts = [line.samples for line in lines if line.samples]
            return {
                "wall": [x for part in parts for x in part.wall],
                "cpu": [x for part in parts for x in part.cpu],
            }

        yield heat


@contextmanager
def _there(subject: Subject, tried: Sequence[Options], device: Timing) -> Iterator[Heat]:
    opened = [Opened(subject.model, o.threads, o.level, o.entries) for o in tried]
    with device.timer(opened, subject.samples) as timer:
        pace = min(_heard(timer, 0, _FEWEST)["wall"])

        def heat(options: Options, limit: tuple[int, float]) -> Times:
            runs = max(_FEWEST, min(limit[0], int(limit[1] / pace)))
            return _heard(timer, tried.index(options), runs)

        yield heat


def _heard(timer: Timer, number: int, runs: int) -> Times:
    """Return what the device measured; a heat whose connection was lost is run once more."""
    letter = ascii_letters[number]
    turns = Turns([(letter, f"{runs}{letter}")], warmup=_WARMUP)
    for last in (False, True):
        taken: list[list[str]] = []
        try:
            timer.time(turns, taken.append, _HUNG)
        except LostError:
            if last:
                raise
        else:
            break
    sizes = [words[1:] for words in taken if words[0] == letter]
    columns = zip(*sizes, strict=True)
    return {
        clock: [round(int(ns) * 1e-9, 9) for ns in column]
        for clock, column in zip(("wall", "cpu"), columns, strict=False)
    }
