"""Does the open loop time what a queue would do? Its p99 against a replay of what it recorded.

Usage: ``python benchmarks/latency/server_replay.py [RUNS]``. Each run measures a chain model at
70 % utilisation, then replays the recorded arrivals and service times through an ideal queue
(Lindley: a request starts when it is due or when the last one ends). What the harness adds, late
wake-ups and its own work between requests, is the difference. Writes ``server_replay.json``.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(os.path.relpath(Path(__file__).parent))


def replay(due: list[float], wall: list[float]) -> list[float]:
    """Return the latency of each request in an ideal queue, in seconds."""
    end, found = 0.0, []
    for at, service in zip(due, wall, strict=True):
        end = max(at, end) + service
        found.append(end - at)
    return found


def measure(model: str, out: str, seed: int) -> dict[str, Any]:
    """Measure once; the seed only numbers the run, arrivals are those of the scenario."""
    command = [sys.executable, "-m", "edgepack", "bench", model, "--scenario", "server"]
    options = ["--threads", "1", "--time", "20s", "--runs", "4000", "-q", "--json", "-o", out]
    told = subprocess.run([*command, *options], check=False, stdout=subprocess.PIPE, text=True)
    summary = json.loads(told.stdout)["results"][0]
    samples = json.loads(Path(out).read_text())["results"][0]["processes"][0]["samples"]
    runs = zip(samples["due"], samples["start"], samples["wall"], strict=True)
    seen = np.array([start + wall - due for due, start, wall in runs])
    ideal = np.array(replay(samples["due"], samples["wall"]))
    p99 = [float(np.percentile(each, 99)) for each in (seen, ideal)]
    return {
        "run": seed,
        "n": len(seen),
        "utilisation": sum(samples["wall"]) / samples["due"][-1],
        "p99_seen": p99[0],
        "p99_replayed": p99[1],
        "ratio": p99[0] / p99[1],
        "load": [summary["before"]["load"], summary["after"]["load"]],
    }


def main(runs: str = "5") -> None:
    """Measure so many times and write the figures."""
    with tempfile.TemporaryDirectory() as folder:
        chain = [sys.executable, str(HERE.parent / "chain.py"), folder, "100"]
        subprocess.run(chain, check=True)
        model, out = f"{folder}/chain_100.onnx", f"{folder}/bench.json"
        found = [measure(model, out, number) for number in range(int(runs))]
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "runs": found,
        "worst": max((each["ratio"] for each in found), key=lambda ratio: abs(ratio - 1)),
    }
    (HERE / "server_replay.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(figures["worst"])


if __name__ == "__main__":
    main(*sys.argv[1:])
