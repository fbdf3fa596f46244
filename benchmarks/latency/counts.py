"""How well instruction counts of an emulated CPU repeat, and that 1 % more work is seen in them.

Usage: ``python benchmarks/latency/counts.py [RUNS]``. Every count is an emulator of its own in a
folder of its own. A chain of 100 equal layers is told from one of 101 where every count of the
longer exceeds every count of the shorter. Writes ``counts.json``.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.bench.estimate import read
from edgepack.devices.qemu import Qemu

HERE = Path(os.path.relpath(Path(__file__).parent))
sys.path.insert(0, str(HERE.parent))
import chain  # noqa: E402

CPUS = ("cortex-a53", "cortex-a76")
LAYERS = (100, 101)


def counted(cpu: str, runs: int) -> dict[str, Any]:
    """Count both chains in turn and compare."""
    device = Qemu(cpu)
    totals: dict[int, list[int]] = {layers: [] for layers in LAYERS}
    paths = {layers: HERE / f"chain_{layers}.onnx" for layers in LAYERS}
    try:
        chain.main(str(HERE), *map(str, LAYERS))
        nets = {layers: read(path) for layers, path in paths.items()}
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
    for _ in range(runs):
        for layers, (model, signature, sample) in nets.items():
            totals[layers].append(device.count(model, signature, sample).total)
    few, many = (np.array(totals[layers]) for layers in LAYERS)
    return {
        "runs": runs,
        "spread": {str(k): (max(v) - min(v)) / min(v) for k, v in totals.items()},
        "ratio": float(np.median(many) / np.median(few)),
        "pairs_in_which_more_work_counts_more": f"{(many[:, None] > few).sum()} of {runs**2}",
        "totals": totals,
    }


def main(runs: str = "20") -> None:
    """Count on every CPU and write what was found."""
    result: dict[str, Any] = {
        "command": f"python {shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])}"
    }
    for cpu in CPUS:
        result[cpu] = counted(cpu, int(runs))
        print(cpu, json.dumps({k: v for k, v in result[cpu].items() if k != "totals"}))
    (HERE / "counts.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
