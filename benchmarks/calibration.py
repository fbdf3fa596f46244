"""CPU seconds of calibration over plain inference of the same samples, and of finding the ranges.

Usage: ``python benchmarks/calibration.py MODEL.onnx [SAMPLES]``. Samples are random: time does not
depend on what they hold. Arms take turns in one process, one thread, and the median of the paired
ratios counts; each arm opens its own session, so what that costs is in it. Prints JSON.
"""

import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgepack.base import registry
from edgepack.calibrate import quantizable
from edgepack.calibration.collect import collect
from edgepack.data.made_up import made_up
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.graph.write import to_bytes
from edgepack.passes import Context, apply
from edgepack.runtime.session import Session
from edgepack.spec import target

TURNS = 5


def seconds(work: Callable[[], object]) -> float:
    """Return CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main(path: str, count: str = "256") -> None:
    """Measure every arm in turn and print the ratios."""
    model = read(Path(path)).model
    for use in ("tidy", "fold_batchnorm"):
        step = registry.find("passes", use)()
        model, _ = apply(step, use, model, Context(target.load("x86_64")))
    face = signature(model)
    few = [made_up(face, seed)[0] for seed in range(16)]
    items = [Item(few[i % 16].samples, (), i) for i in range(int(count))]
    tensors = quantizable(model)
    names = [spec.name for spec in face.outputs]

    def pure() -> None:
        session = Session(to_bytes(model))
        for item in items:
            session.run(item.samples[0], names)

    arms: dict[str, Callable[[], object]] = {
        "inference": pure,
        "minmax": lambda: collect(model, tensors, items, face, histograms=False),
        "all_methods": lambda: collect(model, tensors, items, face),
    }
    load = os.getloadavg()
    turns = [{arm: seconds(work) for arm, work in arms.items()} for _ in range(TURNS)]
    seen = list(collect(model, tensors, items[:32], face).values())
    found = {}
    for method in registry.names("calibration.ranges"):
        finder = registry.find("calibration.ranges", method)()
        spent = seconds(lambda finder=finder: [finder.range(each) for each in seen])
        found[method] = 100 * spent / len(seen)
    result = {
        "command": f"python {shlex.join(sys.argv)}",
        "load_average": {"before": load, "after": os.getloadavg()},
        "tensors": len(tensors),
        "samples": len(items),
        "over_inference": {
            arm: statistics.median(turn[arm] / turn["inference"] for turn in turns) for arm in arms
        },
        "finding_seconds_per_100_tensors": found,
        "bins_per_tensor": float(np.mean([each.histogram.codes.size for each in seen])),
        "turns": turns,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
