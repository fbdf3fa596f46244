"""Does timing over ssh change the time? `edgepack bench` here against the same over loopback.

Run: ``python benchmarks/ssh_loopback.py MODEL PAIRS > benchmarks/results/ssh_loopback.json``, and
with ``runner`` behind it for a device without Python, ``> .../ssh_loopback_runner.json``.
Each pair is one run of the command on this machine and one over ssh to a server of the tests, in
random order, on one core and one thread. The ratio is that of lower quartiles of CPU time, its
interval Student's over pairs.
"""

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgepack.base.stats import t_quantile
from tests.ssh_device import running, without_python

RUNS = 400
BUSY = 6  # the exit code of a run that the machine disturbed
SEED = 0


def low(model: str, device: str, out: Path) -> float:
    """Return the lower quartile of the CPU time of fresh processes, in seconds."""
    command = [sys.executable, "-m", "edgepack", "bench", model, "--on", device, "-o", str(out)]
    command += ["--threads", "1", "--runs", str(RUNS), "--quiet"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in {0, BUSY}:  # a run on a busy machine is invalid, its ratio is not
        raise SystemExit(done.stderr.decode())
    (result,) = json.loads(out.read_bytes())["results"]
    parts = result.get("processes", [result])
    return float(np.percentile([x for part in parts for x in part["samples"]["cpu"]], 25))


def main(model: str, pairs: int, agent: str = "python") -> None:
    """Print the ratio of ssh over local."""
    rng = random.Random(SEED)  # noqa: S311 - an order, not a secret
    before = os.getloadavg()[0]
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # the server and what it starts stay there too
    ratios = []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as device:
        os.environ["EDGEPACK_SSH"] = device.client
        if agent == "runner":
            without_python(device)
        for _ in range(pairs):
            names = ["local", device.name]
            rng.shuffle(names)
            taken = {name: low(model, name, Path(folder, "out.json")) for name in names}
            ratios.append(math.log(taken[device.name] / taken["local"]))
    center = statistics.fmean(ratios)
    half = t_quantile(pairs - 1, 0.95) * statistics.stdev(ratios) / math.sqrt(pairs)
    result = {
        "what": "CPU time over ssh to loopback divided by CPU time here, lower quartiles",
        "command": f"python benchmarks/ssh_loopback.py {Path(model).name} {pairs} {agent}",
        "agent": agent,
        "ratio": round(math.exp(center), 5),
        "interval_95": [round(math.exp(center - half), 5), round(math.exp(center + half), 5)],
        "pairs": pairs,
        "runs": RUNS,
        "ratios": [round(math.exp(each), 5) for each in ratios],
        "load": [before, os.getloadavg()[0]],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
