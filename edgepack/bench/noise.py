"""What this machine can measure: a model against itself, in each mode, for a while."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepack.base.errors import MachineError, RequestError
from edgepack.base.files import sha256
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.record import Run
from edgepack.bench.rivals import Rivals, arm
from edgepack.bench.verdict import Bars, Groups, Verdict, judge
from edgepack.runtime import machine
from edgepack.runtime.session import Options

SIDE, LAYERS = 128, 20
"""Of the model: about a millisecond of work on one core."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What one way to time can tell here.

    Attributes:
        name: ``real-time bursts``, ``thread CPU time`` or ``wall``.
        verdict: Of the model against itself: ``interval`` is the noise floor,
            ``smallest_effect`` what would have been found; None where the mode is not to be had.
        run: The raw samples.
        reason: Why it is not to be had.
    """

    name: str
    verdict: Verdict | None
    run: Run | None = None
    reason: str = ""


def modes(budget: float, tell: Callable[[str], None]) -> tuple[Mode, ...]:
    """Try every mode for its share of ``budget`` seconds."""
    threads = machine.threads()
    tried = [("real-time bursts", 1, True), ("thread CPU time", 1, False)]
    if threads > 1:
        tried.append(("wall", threads, False))
    found = []
    for name, number, realtime in tried:
        tell(f"{name}: a model against itself")
        found.append(_try(name, number, Terms(_never, budget / len(tried), realtime=realtime)))
    return tuple(found)


def best(found: tuple[Mode, ...]) -> Mode | None:
    """Return the mode that sees the smallest effect, None where there is none."""
    there = [(each.verdict.smallest_effect, each) for each in found if each.verdict]
    return min(there, key=lambda pair: pair[0])[1] if there else None


def _try(name: str, threads: int, terms: Terms) -> Mode:
    data = model()
    same = arm("itself", data, sha256(data), Options(threads=threads))
    sample = {"x": np.full((SIDE, SIDE), 1 / SIDE, np.float32)}
    try:
        run, verdict = Contest(Rivals(same, same, [sample], "constant"), terms).compare()
    except (MachineError, RequestError) as error:
        return Mode(name, None, reason=str(error))
    return Mode(name, verdict, run)


def _never(groups: Groups, error: float) -> tuple[Verdict, bool]:
    """Judge a look, and go on: the whole budget tells how much noise there is."""
    return judge(groups, error, Bars()), False


def model() -> bytes:
    """Return products of a matrix with itself, as an ONNX file; no onnx package is needed.

    A matrix of ``1 / SIDE`` is its own square, so that no layer grows.
    Source: onnx.proto3, fields of ModelProto, GraphProto, NodeProto and ValueInfoProto.
    """
    names = ["x", *(f"h{number}" for number in range(1, LAYERS)), "y"]
    nodes = b"".join(
        _part(1, _part(1, a) + _part(1, b"x") + _part(2, b) + _part(4, b"MatMul"))
        for a, b in ((names[n].encode(), names[n + 1].encode()) for n in range(LAYERS))
    )
    dim = _part(1, b"\x08" + _varint(SIDE))
    kind = _part(1, b"\x08\x01" + _part(2, dim + dim))
    ends = [_part(1, name) + _part(2, kind) for name in (b"x", b"y")]
    graph = nodes + _part(2, b"g") + _part(11, ends[0]) + _part(12, ends[1])
    return b"\x08\x08" + _part(7, graph) + _part(8, b"\x10\x11")


def _part(field: int, content: bytes) -> bytes:
    """Return a field with a length, as protobuf writes it."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
