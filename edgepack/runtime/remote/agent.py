"""Runs models on a device that has Python, numpy and onnxruntime; nothing else is needed there.

This file alone travels. ``run`` takes the arguments of ``native/runner.c``; both stay within
Python 3.10, which onnxruntime 1.20 asks for::

    agent.py run [--carry OUTPUT INPUT]... MODEL SAMPLES OUTPUTS
    agent.py time --samples FILE [--before N] [--warmup N] [--stream SECONDS]
        (--model FILE [--threads N] [--level LEVEL] [--entry KEY VALUE]...)...
        (--pair OPENED TURNS)...

A failure is one line on stderr and the exit code
tells whose it was: 2 the command line, 3 the model or a sample, 4 the files. Files of samples and
outputs are wire files, see ``runtime/wire.py``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import string
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import numpy as np
import onnxruntime as ort

BAD_USAGE, BAD_MODEL, BAD_FILES = 2, 3, 4
ALIGN = 64
TYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4",
    7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
CODES = {np.dtype(name): code for code, name in TYPES.items()}
LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disable": "ORT_DISABLE_ALL",
}

Record = dict[str, Any]
Sizes = tuple[int, int, int]


def main(arguments: list[str]) -> int:
    """Do what the first argument says."""
    todo = {"run": run, "time": measure}.get(arguments[0] if arguments else "")
    if todo is None:
        fail(BAD_USAGE, "usage: agent.py run|time ...")
    try:
        todo(arguments[1:])
    except OSError as error:
        fail(BAD_FILES, "{}: {}".format(error.filename or "files", error.strerror or error))
    return 0


def fail(code: int, text: str) -> NoReturn:
    """Print one line and end."""
    sys.stderr.write("agent: {}\n".format(" ".join(text.split())))
    sys.exit(code)


def say(words: str) -> None:
    """Print a line that the other side takes for ours."""
    sys.stdout.write("\n{} {}\n".format(os.environ.get("M", "edgepack"), words))
    sys.stdout.flush()


# --- run ---
def run(arguments: list[str]) -> None:
    """Run every record of a file, and write the outputs to another."""
    carried = []
    while arguments[:1] == ["--carry"] and len(arguments) > 3:
        carried.append((arguments[1], arguments[2]))
        arguments = arguments[3:]
    if len(arguments) != 3:
        fail(BAD_USAGE, "usage: agent.py run [--carry OUTPUT INPUT]... MODEL SAMPLES OUTPUTS")
    model, samples, outputs = arguments
    session = open_session({"model": model, "threads": 1, "level": "all", "entries": []})
    state: Record = {}
    results = []
    for record in read_wire(samples):
        answer = infer(session, {**state, **record}, model)
        state = {into: answer[out] for out, into in carried}
        results.append(answer)
    write_wire(outputs, results)


def infer(session: Any, record: Record, model: str) -> Record:
    """Run once."""
    names = [each.name for each in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, record), strict=False))
    except Exception as error:  # the runtime's own kinds share no other base
        fail(BAD_MODEL, f"{model}: {first_line(error)}")


def open_session(side: dict[str, Any]) -> Any:
    """Open a model as it was asked for."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = side["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[side["level"]])
    for key, value in side["entries"]:
        options.add_session_config_entry(key, value)
    try:
        return ort.InferenceSession(side["model"], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own kinds share no other base
        fail(BAD_MODEL, "{}: {}".format(side["model"], first_line(error)))


def first_line(error: Exception) -> str:
    """Return the first line of what the runtime says."""
    return str(error).strip().partition("\n")[0]


# --- wire files ---
def read_wire(path: str) -> list[Record]:
    """Return the records of a wire file."""
    data = Path(path).read_bytes()
    try:
        magic, version, count = struct.unpack_from("<8sII", data)
        if (magic, version) != (b"edgewire", 1):
            fail(BAD_FILES, f"{path} is not a wire file")
        at, records = ALIGN, []
        for _ in range(count):
            (tensors,) = struct.unpack_from("<I", data, at)
            at += ALIGN
            record: Record = {}
            for _ in range(tensors):
                name, value, at = read_tensor(data, at)
                record[name] = value
            records.append(record)
    except (struct.error, ValueError, KeyError) as error:
        fail(BAD_FILES, f"{path} is damaged: {error}")
    return records


def read_tensor(data: bytes, at: int) -> tuple[str, Any, int]:
    """Return the tensor at a place, and where the next one begins."""
    code, rank, length, _ = struct.unpack_from("<IIII", data, at)
    shape = struct.unpack_from(f"<{rank}q", data, at + 16)
    at += 16 + 8 * rank
    name = data[at : at + length].decode()
    at = up(at + length + 1)
    dtype = np.dtype(TYPES[code])
    count = int(np.prod(shape, dtype=np.int64))
    value = np.frombuffer(data, dtype, count, at).reshape(shape)
    return name, value, up(at + count * dtype.itemsize)


def write_wire(path: str, records: list[Record]) -> None:
    """Write records to a wire file."""
    with Path(path).open("wb") as file:
        file.write(padded(struct.pack("<8sII", b"edgewire", 1, len(records))))
        for record in records:
            file.write(padded(struct.pack("<I", len(record))))
            for name, value in record.items():
                file.write(tensor_bytes(name, value))


def tensor_bytes(name: str, value: Any) -> bytes:
    """Return a tensor as it stands in a wire file."""
    dtype = getattr(value, "dtype", None)
    if dtype not in CODES:
        fail(BAD_MODEL, f"output '{name}' is not a tensor of plain numbers")
    encoded = name.encode()
    head = struct.pack("<IIII", CODES[dtype], value.ndim, len(encoded), 0)
    head += struct.pack(f"<{value.ndim}q", *value.shape) + encoded + b"\0"
    return padded(head) + padded(value.astype(TYPES[CODES[dtype]], order="C", copy=False).tobytes())


def padded(data: bytes) -> bytes:
    """Fill up with zeros to where the next part begins."""
    return data + bytes(up(len(data)) - len(data))


def up(at: int) -> int:
    """Return the next multiple of 64."""
    return -(-at // ALIGN) * ALIGN


# --- time ---
def measure(arguments: list[str]) -> None:
    """Time fresh sessions, pair by pair.

    Each model is known by a letter, ``a`` to ``z`` and then ``A`` to ``Z``. A pair opens those that
    OPENED names and then runs them in the order of TURNS, such as ``abba`` or ``200a``. A turn is
    ``--before`` untimed runs and a timed one. Said: ``doing WHAT``, ``opened NANOSECONDS``, and for
    each timed run ``LETTER WALL CPU SWITCHES`` in nanoseconds, at the end of the pair or once a
    second and more where it streams; then ``paired``.
    """
    job = parse(arguments)
    records = read_wire(job["samples"])
    gc.disable()
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more
        for opened, turns in job["pairs"]:
            pair(job, records, opened, turns)
            gc.collect()


def parse(arguments: list[str]) -> dict[str, Any]:
    """Read the command line."""
    job: dict[str, Any] = {"before": 0, "warmup": 0, "stream": 0.0, "models": [], "pairs": []}
    at = iter(arguments)
    try:
        for option in at:
            if option == "--model":
                side = {"model": next(at), "threads": 1, "level": "all", "entries": []}
                job["models"].append(side)
            elif option == "--entry":
                job["models"][-1]["entries"].append((next(at), next(at)))
            elif option == "--level":
                job["models"][-1]["level"] = next(at)
            elif option == "--threads":
                job["models"][-1]["threads"] = int(next(at))
            elif option == "--pair":
                job["pairs"].append((next(at), "".join(expand(next(at)))))
            else:
                kind = {"--samples": str, "--stream": float, "--before": int, "--warmup": int}
                job[option[2:]] = kind[option](next(at))
        job["samples"]
    except (StopIteration, KeyError, IndexError, ValueError) as error:
        fail(BAD_USAGE, f"not a job: {error!r}")
    return job


def expand(turns: str) -> Iterator[str]:
    """Write out ``2ab`` as ``aab``."""
    for number, letter in re.findall("([0-9]*)([a-zA-Z])", turns):
        yield letter * int(number or 1)


def pair(job: dict[str, Any], records: list[Record], opened: str, turns: str) -> None:
    """Open fresh sessions and take turns."""
    start = time.perf_counter_ns()
    sessions = {letter: fresh(job, records, letter) for letter in opened}
    say(f"opened {time.perf_counter_ns() - start}")
    one_thread = all(side["threads"] == 1 for side in job["models"])
    clocks = (
        time.thread_time_ns if one_thread else time.process_time_ns,
        switches(one_thread=one_thread),
    )
    done = dict.fromkeys(opened, 0)
    taken: list[tuple[str, Sizes]] = []
    told = time.perf_counter()
    for letter in turns:
        record = records[done[letter] % len(records)]
        done[letter] += 1
        taken.append((letter, turn(sessions[letter], record, job["before"], clocks)))
        if job["stream"] and time.perf_counter() - told > job["stream"]:
            tell(taken)
            told = time.perf_counter()
    tell(taken)
    say("paired")


def fresh(job: dict[str, Any], records: list[Record], letter: str) -> Callable[[Record], object]:
    """Open a session and run it until it is warm: the first run allocates and packs."""
    side = job["models"][string.ascii_letters.index(letter)]
    say(f"doing opening {letter.upper()}")
    session = open_session(side)
    say(f"doing running {letter.upper()}")
    names = [each.name for each in session.get_outputs()]
    for number in range(job["warmup"]):
        infer(session, records[number % len(records)], side["model"])
    return lambda record: session.run(names, record)


def turn(
    run: Callable[[Record], object], record: Record, before: int, clocks: tuple[Any, Any]
) -> Sizes:
    """Run untimed, which brings this model back into the caches, then once timed."""
    for _ in range(before):
        run(record)
    cpu_clock, count = clocks
    stops, cpu, wall = count(), cpu_clock(), time.perf_counter_ns()
    run(record)
    wall = time.perf_counter_ns() - wall
    return wall, cpu_clock() - cpu, count() - stops


def tell(taken: list[tuple[str, Sizes]]) -> None:
    """Say what was measured, and forget it."""
    mark = os.environ.get("M", "edgepack")
    lines = [f"{mark} {letter} {wall} {cpu} {stops}\n" for letter, (wall, cpu, stops) in taken]
    sys.stdout.write("\n" + "".join(lines))
    sys.stdout.flush()
    taken.clear()


def switches(*, one_thread: bool) -> Callable[[], int]:
    """Return what counts the involuntary context switches so far."""
    import resource

    who = resource.RUSAGE_THREAD if one_thread else resource.RUSAGE_SELF
    return lambda: resource.getrusage(who).ru_nivcsw


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
