"""What the timing loop costs: a run inside it against a run inside a bare loop.

Usage: ``python benchmarks/latency/overhead.py [ROUNDS]``. The two loops take turns on one session,
in CPU time of the thread, median over rounds of the difference per run. The model is the smallest
that runs at all, so that the loop is as large a part as it can be. Writes ``overhead.json``.
"""

import json
import os
import resource
import shlex
import sys
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edgepack.bench import loops
from edgepack.runtime.session import Session

HERE = Path(os.path.relpath(Path(__file__).parent))
RUNS = 2000


def session() -> Session:
    """Open a model that adds a number to itself."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 17)
    return Session(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    )


def main(rounds: str = "50") -> None:
    """Take turns, and write the figures."""
    opened, sample = session(), {"x": np.ones(1, np.float32)}
    gauges = loops.Gauges(
        time.thread_time_ns, lambda: resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    )
    bare, timed, inside = [], [], []
    for _ in range(int(rounds)):
        start = time.thread_time()
        for _ in range(RUNS):
            opened.run(sample)
        bare.append((time.thread_time() - start) / RUNS)
        start = time.thread_time()
        limit = loops.Limit(RUNS, 60.0)
        parts = list(loops.closed(lambda _: opened.run(sample), gauges, limit))
        timed.append((time.thread_time() - start) / RUNS)
        inside.append(float(np.median([x for part in parts for x in part.wall])))
    differences = np.subtract(timed, bare)
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "n": int(rounds),
        "bare_us": float(np.median(bare)) * 1e6,
        "loop_adds_us": float(np.median(differences)) * 1e6,
        "loop_adds_us_quartiles": [float(q) * 1e6 for q in np.percentile(differences, [25, 75])],
        "a_timed_run_reads_us": float(np.median(inside)) * 1e6,
        "load": os.getloadavg()[0],
    }
    (HERE / "overhead.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
