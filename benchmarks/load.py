"""CPU time, wall time and peak memory of ``edgepack.load`` over ONNX Runtime opening ``.onnx``.

Usage: ``python benchmarks/load.py TURNS BUNDLE ... > benchmarks/results/load.json``. Every load is
a fresh process with one thread that imports both sides first, and the arms take turns: ratios and
differences are paired; median, and the range of its central 95 %. Session options are those of the
bundle. Times are of the load alone; memory is the process's peak while it loads above what it held
before. ``checked`` is the least that a digest costs from Python: the plain file is read, SHA-256 is
computed, and the runtime opens the bytes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepack.bundle.open import open_bundle

ARM = """
import gc, hashlib, json, re, sys, time
from pathlib import Path
import edgepack, onnxruntime
from edgepack.runtime.model import load
from edgepack.runtime.session import Options, _session_options

def held(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def runtime(model):
    options = _session_options(onnxruntime, Options(threads=1))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

def checked(path):
    model = Path(path).read_bytes()
    hashlib.sha256(model).hexdigest()
    return runtime(model)

arm = {"edgepack": lambda path: load(path, threads=1), "onnxruntime": runtime, "checked": checked}
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak is that of the imports until here
before, cpu, wall = held("VmRSS"), time.process_time(), time.perf_counter()
opened = arm[sys.argv[1]](sys.argv[2])
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps({"cpu": cpu, "wall": wall, "peak": held("VmHWM") - before,
                  "kept": held("VmRSS") - before}))
"""

Turn = dict[str, dict[str, float]]


def once(arm: str, path: Path) -> dict[str, float]:
    """Load in a fresh process; return seconds and bytes."""
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", ARM, arm, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the central 95 %."""
    ordered = sorted(values)
    edge = int(0.025 * len(ordered))
    low, high = ordered[edge], ordered[-1 - edge]
    return {"median": statistics.median(ordered), "low": low, "high": high}


def ratio(turns: list[Turn], arm: str, key: str) -> dict[str, float]:
    """Return how much of ``key`` an arm takes over the runtime alone."""
    return spread([turn[arm][key] / turn["onnxruntime"][key] for turn in turns])


def over(turns: list[Turn], key: str, size: int) -> dict[str, float]:
    """Return the bytes that edgepack holds beyond the runtime alone, as a share of the model."""
    return spread([(t["edgepack"][key] - t["onnxruntime"][key]) / size for t in turns])


def measure(bundle: Path, turns: int) -> dict[str, Any]:
    """Take turns and return what they tell."""
    opened = open_bundle(bundle)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.onnx"
        plain.write_bytes(opened.model)
        arms = {"edgepack": bundle, "onnxruntime": plain, "checked": plain}
        found = [{arm: once(arm, path) for arm, path in arms.items()} for _ in range(turns + 1)][1:]
    size = len(opened.model)
    seconds: Callable[[str], list[float]] = lambda arm: [turn[arm]["cpu"] for turn in found]  # noqa: E731
    return {
        "model_bytes": size,
        "bundle_bytes": opened.size,
        "turns": turns,
        "cpu_ratio": ratio(found, "edgepack", "cpu"),
        "wall_ratio": ratio(found, "edgepack", "wall"),
        "checked_cpu_ratio": ratio(found, "checked", "cpu"),
        "onnxruntime_cpu_seconds": spread(seconds("onnxruntime")),
        "edgepack_cpu_seconds": spread(seconds("edgepack")),
        "peak_over_in_models": over(found, "peak", size),
        "kept_over_in_models": over(found, "kept", size),
    }


def main() -> None:
    """Measure each bundle and print all."""
    turns, *bundles = sys.argv[1:]
    result = {
        "command": " ".join(["python", "benchmarks/load.py", turns, *map(_name, bundles)]),
        "load_average": os.getloadavg(),
        "bundles": {_name(bundle): measure(Path(bundle), int(turns)) for bundle in bundles},
        "load_average_after": os.getloadavg(),
    }
    print(json.dumps(result, indent=1))


def _name(bundle: str) -> str:
    """Return the last folders of a path, which tell networks and recipes apart."""
    return "/".join(Path(bundle).parts[-3:])


if __name__ == "__main__":
    main()
