"""One child process of a measurement, seen from outside: lines come as they are written."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from edgepack.base import errors, units
from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.bench import duel, worker
from edgepack.bench.answer import Line

Job: TypeAlias = worker.Job | duel.Job


def visit(job: Job, folder: Path, *, limit: float) -> Iterator[Line]:
    """Run a child on one job; yields each line as it comes. Closing the iterator ends the child.

    Args:
        job: What to do; the module that defines it does it.
        folder: Where the files are that it names.
        limit: Seconds after which the child counts as hung.

    Raises:
        EdgepackError: What the child raised; or it crashed, or hung.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", type(job).__module__],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # an interrupt is ours to handle: what was measured is kept
        )
        hung = threading.Event()

        def end() -> None:
            hung.set()
            child.kill()

        watch = threading.Timer(limit, end)
        watch.daemon = True
        watch.start()
        doing = "starting"
        try:
            for line in _lines(child, job):
                doing = line.doing or doing
                if line.failure is not None:
                    known: type[EdgepackError] = getattr(errors, line.failure.kind)
                    raise known(line.failure.code, line.failure.message, hint=line.failure.hint)
                yield line
            code = child.wait()
        finally:
            watch.cancel()
            _end(child)
        if hung.is_set():
            raise MachineError(
                "E-CHILD", f"a child process did not end within {units.duration(limit)}"
            )
        if code:
            said.seek(0)
            raise broken(code, doing, said.read().decode(errors="replace"))


def _lines(child: "subprocess.Popen[bytes]", job: Job) -> Iterator[Line]:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(job))
        child.stdin.close()
    except BrokenPipeError:  # it ended already; its exit code tells more
        return
    for text in child.stdout:
        try:
            yield msgspec.json.decode(text, type=Line)
        except msgspec.DecodeError:  # cut off while it wrote
            continue


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None and not pipe.closed:
            pipe.close()


def environment() -> dict[str, str]:
    """Let the child import this very edgepack, wherever it was imported from."""
    here = str(Path(__file__).parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def broken(code: int, doing: str, said: str) -> EdgepackError:
    """Say in one sentence how a child ended and what it was at."""
    if code < 0:
        name = str(-code)
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
        return ModelError("E-CRASH", f"the process stopped with {name} while {doing or 'starting'}")
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return MachineError(
        "E-CHILD", f"a child process failed while {doing or 'starting'}: {lines[-1]}"
    )
