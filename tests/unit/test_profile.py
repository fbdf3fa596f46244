"""Where time goes: traces of the runtime's profiler as shares of operators."""

import json

import pytest

from edgepack.bench import operators
from edgepack.bench.operators import Operator


def event(name: str, dur: int, op: str = "") -> dict[str, object]:
    cat, args = ("Node", {"op_name": op, "node_index": "0"}) if op else ("Session", {})
    return {"cat": cat, "ph": "X", "ts": 0, "dur": dur, "name": name, "args": args}


def trace(*runs: tuple[int, int]) -> bytes:
    events = [event("session_initialization", 900)]
    for first, second in runs:
        events += [
            event("a_kernel_time", first, "Conv"),
            event("b_kernel_time", second, "Conv"),
            event("c_kernel_time", 1, "Relu"),
            event("SequentialExecutor::Execute", first + second),
            event("model_run", first + second),
        ]
    return json.dumps(events).encode()


def test_the_median_of_warm_runs_is_taken_per_node() -> None:
    cold = [(1000, 1000)] * operators.WARMUP
    found = operators.read(trace(*cold, (4, 10), (5, 90), (6, 11)))
    assert found == (
        Operator("a", "Conv", 5e-6),
        Operator("b", "Conv", 11e-6),
        Operator("c", "Relu", 1e-6),
    )


def test_types_are_summed_and_the_longest_comes_first() -> None:
    nodes = [Operator("c", "Relu", 1e-6), Operator("a", "Conv", 5e-6), Operator("b", "Conv", 2e-6)]
    rows = operators.by_type(nodes)
    assert [row[:2] for row in rows] == [("Conv", 2), ("Relu", 1)]
    assert rows[0][2] == pytest.approx(7e-6)


def test_a_trace_without_a_warm_run_says_nothing() -> None:
    assert operators.read(trace((1, 1))) == ()
