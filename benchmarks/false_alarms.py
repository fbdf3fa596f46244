"""How often ``edgepack compare`` is wrong: equal models called different, slower ones not found.

Usage: ``python benchmarks/false_alarms.py CASE TOTAL [SECONDS]``; CASE is a key of ``CASES``, with
``+load`` behind it for a process that keeps the first core busy all the while. Every run is a
whole ``edgepack compare`` with an order of turns of its own; it is kept, with the load it met, in
``results/false_alarms.json``. A later call goes on from what is there, up to TOTAL runs of the
case, and stops after SECONDS; it may be ended at any time, and loses the run it is at.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import beta

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULTS = HERE / "results" / "false_alarms.json"

_REALTIME = ("--budget", "30s", "--realtime", "--detect", "1%")

CASES: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "equal": (20, 20, ("--budget", "10s")),
    "equal_wall": (20, 20, ("--budget", "10s", "--threads", "2")),
    "plus_2": (100, 102, ("--budget", "60s")),
    "plus_3": (100, 103, ("--budget", "30s")),
    "plus_1_realtime": (100, 101, _REALTIME),
    "plus_1_realtime_tolerate_0": (100, 101, (*_REALTIME, "--tolerate", "0%")),
}
"""Layers of A, layers of B (see ``chain.py``), options."""

KEPT = (
    *("decision", "ratio", "interval", "smallest_effect", "clock", "processes", "pairs"),
    *("log_ratios", "looks", "elapsed", "load"),
)


def compare(models: tuple[str, str], options: tuple[str, ...]) -> dict[str, Any]:
    """Run one comparison; one that cannot be planned in its budget is kept as inconclusive."""
    threads = () if "--threads" in options else ("--threads", "1")
    command = [sys.executable, "-m", "edgepack", "compare", *models, *threads, *options]
    done = subprocess.run([*command, "--json", "-q"], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 8, 9}:
        return {"decision": "inconclusive", "error": done.stderr.strip().splitlines()[0]}
    found = json.loads(done.stdout)
    return {key: found[key] for key in KEPT}


def rate(runs: list[dict[str, Any]], decision: str) -> dict[str, Any]:
    """Return how often that was decided, with the 95 % interval of Clopper and Pearson."""
    n, k = len(runs), sum(run["decision"] == decision for run in runs)
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return {"n": n, "runs": k, "interval": [round(float(low), 4), round(float(high), 4)]}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rates of every decision, and how long it took under which load."""
    ended = [run for run in runs if "elapsed" in run]
    words = ("slower", "faster", "no difference", "inconclusive")
    return {
        "decided": {word: rate(runs, word) for word in words},
        "median_seconds": statistics.median(run["elapsed"] for run in ended) if ended else None,
        "median_load": statistics.median(run["load"][0] for run in ended) if ended else None,
        "median_smallest_effect": statistics.median(run["smallest_effect"] for run in ended)
        if ended
        else None,
    }


def main(case: str, total: str, seconds: str = "inf") -> None:
    """Bring the runs of a case in the file up to a total."""
    plain, _, load = case.partition("+")
    a, b, options = CASES[plain]
    end = time.monotonic() + float(seconds)
    with tempfile.TemporaryDirectory() as folder, busy(wanted=load == "load"):
        layers = map(str, {a, b})
        subprocess.run([sys.executable, str(HERE / "chain.py"), folder, *layers], check=True)
        models = (f"{folder}/chain_{a}.onnx", f"{folder}/chain_{b}.onnx")
        while len(known().get(case, {"runs": []})["runs"]) < int(total):
            if time.monotonic() > end:
                break
            keep(case, compare(models, options))


@contextlib.contextmanager
def busy(*, wanted: bool) -> Iterator[None]:
    """Keep the first core busy with a process of its own, which ends with this one."""
    if not wanted:
        yield
        return
    parent = os.getpid()
    code = (
        f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n"
        f"while os.getppid() == {parent}:\n    sum(range(1_000_000))"
    )
    load = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        load.terminate()
        load.wait()


def known() -> dict[str, Any]:
    """Return what the file holds."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def keep(case: str, run: dict[str, Any]) -> None:
    """Add one run to the file."""
    found = known()
    entry = found.setdefault(case, {"runs": []})
    entry["runs"].append(run)
    a, b, options = CASES[case.partition("+")[0]]
    entry["command"] = f"python benchmarks/false_alarms.py {case} {len(entry['runs'])}"
    entry["layers"], entry["options"] = [a, b], options
    entry["summary"] = summary(entry["runs"])
    RESULTS.parent.mkdir(exist_ok=True)
    draft = RESULTS.with_suffix(".draft")
    draft.write_text(json.dumps(found, indent=None, sort_keys=True) + "\n")
    draft.replace(RESULTS)


if __name__ == "__main__":
    main(*sys.argv[1:])
