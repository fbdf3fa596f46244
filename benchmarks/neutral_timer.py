"""Time ONNX files against each other; shares no code with edgepack.

Usage: ``python benchmarks/neutral_timer.py INPUT.npz FLOAT.onnx OTHER.onnx ...``.
Each round makes a fresh session of every model and runs them in turn; a session's time is the
lower quartile of its runs' thread CPU time (1 thread). Ratios are to the first model. Each model
gets those arrays of INPUT.npz that its inputs name.
"""

import json
import os
import shlex
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort

ROUNDS, BLOCKS, WARM, BUDGET = 15, 20, 10, 0.5  # BUDGET: CPU seconds per model and round


def one_round(models: list[str], feeds: dict[str, np.ndarray], turn: int) -> list[float]:
    """Return the lower quartile of run times of each model, in seconds, in fresh sessions."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    order = [(i + turn) % len(models) for i in range(len(models))]
    sessions = {
        i: ort.InferenceSession(models[i], options, ["CPUExecutionProvider"]) for i in order
    }
    given = {i: {x.name: feeds[x.name] for x in sessions[i].get_inputs()} for i in order}
    times: dict[int, list[float]] = {i: [] for i in order}
    spent = {i: min(time_runs(sessions[i], given[i], WARM)) for i in order}
    runs = max(5, int(BUDGET / BLOCKS / max(spent.values())))
    for _ in range(BLOCKS):
        for i in order:
            times[i] += time_runs(sessions[i], given[i], runs)
    return [float(np.percentile(times[i], 25)) for i in range(len(models))]


def time_runs(session: ort.InferenceSession, feeds: dict[str, np.ndarray], n: int) -> list[float]:
    """Return the thread CPU seconds of each of ``n`` runs."""
    spent = []
    for _ in range(n):
        start = time.thread_time_ns()
        session.run(None, feeds)
        spent.append((time.thread_time_ns() - start) / 1e9)
    return spent


def main(source: str, models: list[str]) -> None:
    """Run all rounds and print the ratios."""
    load, feeds = os.getloadavg(), dict(np.load(source))
    rounds = np.array([one_round(models, feeds, turn) for turn in range(ROUNDS)])
    ratios = rounds / rounds[:, :1]
    result: dict[str, object] = {
        "command": f"python {shlex.join(sys.argv)}",
        "load_average": {"before": load, "after": os.getloadavg()},
        "cpus": os.cpu_count(),
        "onnxruntime": ort.__version__,
        "rounds": ROUNDS,
    }
    for i, name in enumerate(models):
        low, middle, high = np.percentile(ratios[:, i], [2.5, 50, 97.5]).tolist()
        figures = {"cpu_ms": float(np.median(rounds[:, i])) * 1e3, "ratio": middle}
        result[name] = figures | {"ratio_range": [low, high], "ratios": ratios[:, i].tolist()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
