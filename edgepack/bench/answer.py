"""What the child processes of a measurement share: a job on stdin, lines of JSON on stdout.

Whatever else is printed in such a process goes to stderr, so that a chatty runtime cannot spoil
the answer; a crash ends this process and no other, and what was said before it holds.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np

from edgepack.base.errors import EdgepackError
from edgepack.bench.measured import Opened, Samples
from edgepack.bench.record import Options, Pair
from edgepack.runtime.session import Options as SessionOptions
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample, TensorSpec

J = TypeVar("J")


class Failure(msgspec.Struct, frozen=True):
    """An error of ours, on its way to the parent."""

    kind: str
    code: str
    message: str
    hint: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line on stdout: what begins, what was found, or how it ended.

    Attributes:
        doing: What is about to be done.
        inputs: What the model takes, as the runtime sees it.
        outputs: What it returns.
        opened: How long it took to get ready.
        samples: Timed runs of one session.
        pair: Timed runs of a pair of sessions.
        memory: High-water bytes, see ``Result.memory``.
        failure: What ended it.
    """

    doing: str = ""
    inputs: tuple[TensorSpec, ...] | None = None
    outputs: tuple[TensorSpec, ...] | None = None
    opened: Opened | None = None
    samples: Samples | None = None
    pair: Pair | None = None
    memory: dict[str, int] | None = None
    failure: Failure | None = None


Work: TypeAlias = Callable[[J], Iterator[Line]]


def answer(kind: type[J], work: Work[J]) -> int:
    """Do the one job that stdin holds, and say each line as it comes; return the exit code."""
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)

        def say(line: Line) -> None:
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()

        job = msgspec.json.decode(sys.stdin.buffer.read(), type=kind)
        try:
            for line in work(job):
                say(line)
        except EdgepackError as error:
            failure = Failure(type(error).__name__, error.code, str(error), error.hint)
            say(Line(failure=failure))
    return 0


def open_session(model: bytes, options: Options, profile: Path | None = None) -> Session:
    """Open a model at options that came as JSON."""
    known: dict[str, Any] = msgspec.structs.asdict(options)
    return Session(model, SessionOptions(**known, profile=profile))


def load(path: str, names: Sequence[str]) -> list[Sample]:
    """Read samples: an ``.npz`` with those of sample 0 by position, in the order of ``names``."""
    with np.load(path, allow_pickle=False) as file:
        arrays = [file[f"arr_{number}"] for number in range(len(file.files))]
    width = len(names)
    starts = range(0, len(arrays), width)
    return [dict(zip(names, arrays[at : at + width], strict=True)) for at in starts]


def switch_counter(*, one_thread: bool) -> Callable[[], int]:
    """Return what counts the involuntary context switches so far; 0 where nobody counts."""
    with contextlib.suppress(ImportError):
        import resource

        whole = resource.RUSAGE_SELF
        who = getattr(resource, "RUSAGE_THREAD", whole) if one_thread else whole
        return lambda: resource.getrusage(who).ru_nivcsw
    return lambda: 0
