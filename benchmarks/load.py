"""CPU time and peak memory of ``edgepack.load`` over ONNX Runtime opening the plain ``.onnx``.

Usage: ``python benchmarks/load.py BUNDLE [TURNS] > benchmarks/results/load_NAME.json``. Every load
is a fresh process with one thread that imports both sides first; the two take turns and the ratio
is paired: median, and the range of its central 95 %. Session options are those of the bundle. The
time is CPU time of the load alone; the memory is the process's peak above its peak before the load.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from edgepack.bundle.open import open_bundle

ARM = """
import json, resource, sys, time
import edgepack, onnxruntime
from edgepack.bundle.open import open_bundle
from edgepack.runtime.model import load
from edgepack.runtime.session import Options, _session_options
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
options = _session_options(onnxruntime, Options(threads=1))
before, start = peak(), time.process_time()
if sys.argv[1] == "edgepack":
    opened = load(sys.argv[2], threads=1)
else:
    opened = onnxruntime.InferenceSession(
        sys.argv[2], options, providers=["CPUExecutionProvider"]
    )
print(json.dumps({"cpu": time.process_time() - start, "peak": peak() - before}))
"""


def once(arm: str, path: Path) -> dict[str, float]:
    """Load in a fresh process; return CPU seconds and bytes."""
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


def main() -> None:
    """Take turns and print both ratios."""
    bundle, turns = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 31
    opened = open_bundle(bundle)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.onnx"
        plain.write_bytes(opened.model)
        arms = {"edgepack": bundle, "onnxruntime": plain}
        for arm, path in arms.items():
            once(arm, path)
        runs = [{arm: once(arm, path) for arm, path in arms.items()} for _ in range(turns)]
    cpu = [run["edgepack"]["cpu"] / run["onnxruntime"]["cpu"] for run in runs]
    over = [run["edgepack"]["peak"] - run["onnxruntime"]["peak"] for run in runs]
    result = {
        "command": " ".join(["python", "benchmarks/load.py", bundle.name, *sys.argv[2:]]),
        "load_average": os.getloadavg(),
        "turns": turns,
        "bundle_bytes": opened.size,
        "model_bytes": len(opened.model),
        "cpu_ratio": spread(cpu),
        "onnxruntime_cpu_seconds": spread([run["onnxruntime"]["cpu"] for run in runs]),
        "peak_over_onnxruntime_bytes": spread(over),
        "onnxruntime_peak_bytes": spread([run["onnxruntime"]["peak"] for run in runs]),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
