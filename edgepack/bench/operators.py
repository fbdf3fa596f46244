"""What each operator of a model takes, from the Chrome trace that ONNX Runtime writes.

The profiler's clock counts whole microseconds, and it slows small operators: shares tell where time
goes, the sum is not the latency.
Source: Chrome Trace Event Format, complete events (``ph = "X"``, ``dur`` in microseconds).
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import msgspec

TRACE = "trace.json"
"""The file that a profiled process leaves."""

WARMUP = 5
"""Runs at its beginning that are not counted."""

_SUFFIX = "_kernel_time"


class Operator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node as the runtime ran it, after its own fusions.

    Attributes:
        name: Of the node.
        op: Its type.
        seconds: Of one run, the median.
    """

    name: str
    op: str
    seconds: float


class _Args(msgspec.Struct, frozen=True):
    op_name: str = ""


class _Event(msgspec.Struct, frozen=True):
    name: str = ""
    cat: str = ""
    dur: float = 0.0
    args: _Args | None = None


def read(trace: bytes) -> tuple[Operator, ...]:
    """Return the operators of a trace in the order in which they ran first."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    run: dict[tuple[str, str], float] = defaultdict(float)
    done = 0
    for event in msgspec.json.decode(trace, type=list[_Event]):
        if event.name == "model_run":
            done += 1
            for key, microseconds in run.items():
                taken[key] += [microseconds] if done > WARMUP else []
            run.clear()
        elif event.cat == "Node" and event.name.endswith(_SUFFIX) and event.args is not None:
            run[event.name.removesuffix(_SUFFIX), event.args.op_name] += event.dur
    return tuple(
        Operator(name, op, round(median(each) * 1e-6, 9))
        for (name, op), each in taken.items()
        if each
    )


def trace(operators: Sequence[Operator]) -> bytes:
    """Return a Chrome trace of one run at the median time of each operator, one after the other."""
    events, start = [], 0.0
    for each in operators:
        took = each.seconds * 1e6
        event = {"cat": "Node", "ph": "X", "pid": 0, "tid": 0, "ts": start, "dur": took}
        name = {"name": each.name + _SUFFIX, "args": {"op_name": each.op}}
        events.append({**event, **name})
        start += took
    return msgspec.json.encode(events) + b"\n"


def by_type(operators: Sequence[Operator]) -> list[tuple[str, int, float]]:
    """Return type, number of nodes and seconds together, those that take most first."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in operators:
        found[each.op].append(each.seconds)
    rows = [(op, len(each), sum(each)) for op, each in found.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0]))
