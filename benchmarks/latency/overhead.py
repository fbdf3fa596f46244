"""What a timed run costs: the harness against a bare loop over the runtime's own ``run``.

Usage: ``python benchmarks/latency/overhead.py [ROUNDS]``. The loops take turns in random order on
sessions of one model, in CPU time of the thread; a round gives one difference per run, and the
interval is Student's over rounds. The model is the smallest that runs at all, so that the harness
is as large a part as it can be. Writes ``overhead.json``.
"""

import json
import os
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from edgepack.base.stats import t_quantile
from edgepack.bench import loops
from edgepack.bench.answer import Line, switch_counter
from edgepack.runtime.session import Session

HERE = Path(os.path.relpath(Path(__file__).parent))
RUNS = 2000
SAMPLES = [{"x": np.full(1, number, np.float32)} for number in range(8)]


def model() -> bytes:
    """Return a model that adds a number to itself."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 17)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return data


def ways() -> dict[str, Callable[[], object]]:
    """Return ways to run a model so many times: the runtime alone, our session, the harness."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    alone = onnxruntime.InferenceSession(model(), options, ["CPUExecutionProvider"])
    ours = Session(model())
    bound = [ours.bound(sample) for sample in SAMPLES]
    gauges = loops.Gauges(time.thread_time_ns, switch_counter(one_thread=True))

    def bare() -> None:
        for number in range(RUNS):
            alone.run(["y"], SAMPLES[number % len(SAMPLES)])

    def session() -> None:
        for number in range(RUNS):
            ours.run(SAMPLES[number % len(SAMPLES)])

    def harness() -> None:
        def run(number: int) -> object:
            return bound[number % len(bound)]()

        for part in loops.closed(run, gauges, loops.Limit(RUNS, 60.0)):
            msgspec.json.encode(Line(samples=part))

    return {"bare": bare, "session": session, "harness": harness}


def inside() -> float:
    """Return what a timed run reads, in seconds, the median."""
    ours = Session(model())
    gauges = loops.Gauges(time.thread_time_ns, switch_counter(one_thread=True))
    bound = ours.bound(SAMPLES[0])
    parts = loops.closed(lambda _: bound(), gauges, loops.Limit(RUNS, 60.0))
    return float(np.median([x for part in parts for x in part.wall]))


def spread(differences: list[float]) -> dict[str, float | list[float]]:
    """Return the mean in microseconds a run, and its 95 % interval."""
    mean, n = statistics.fmean(differences), len(differences)
    half = t_quantile(n - 1, 0.95) * statistics.stdev(differences) / n**0.5
    return {"us": mean * 1e6, "interval_95": [(mean - half) * 1e6, (mean + half) * 1e6]}


def main(rounds: str = "50") -> None:
    """Take turns, and write the figures."""
    known, rng, before = ways(), random.Random(0), os.getloadavg()[0]  # noqa: S311 - an order
    taken: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(int(rounds)):
        for name in rng.sample(list(known), len(known)):
            start = time.thread_time()
            known[name]()
            taken[name].append((time.thread_time() - start) / RUNS)
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "rounds": int(rounds),
        "runs_a_round": RUNS,
        "bare_us": statistics.fmean(taken["bare"]) * 1e6,
        **{
            f"{name}_adds": spread(list(np.subtract(taken[name], taken["bare"])))
            for name in ("session", "harness")
        },
        "a_timed_run_reads_us": inside() * 1e6,
        "load": [before, os.getloadavg()[0]],
    }
    (HERE / "overhead.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
