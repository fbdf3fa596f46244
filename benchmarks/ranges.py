"""What each range method and cross-layer equalization do to a model, on two sets of samples.

Usage: ``python benchmarks/ranges.py MODEL.onnx DATA.py [TARGET]``. DATA.py has ``calibration`` and
``evaluation``. Ranges are taken on every second calibration sample; ``selection`` is the others,
on which defaults may be chosen; ``evaluation`` is for reporting only. In exact mode of the runtime.
Prints JSON: agreement with the float model in the top class, top-1 where labels are 0 or more, and
signal over noise of the outputs in dB.
"""

import json
import runpy
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.data.fidelity import fidelity
from edgepack.data.samples import Item, open_dataset
from edgepack.gate.candidates import rewrite
from edgepack.gate.evaluate import evaluate
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import target
from edgepack.spec.recipe import Recipe

METHODS = ("minmax", "percentile", "entropy", "mse", "auto")


def recipe(method: str, *, equalize: bool) -> Recipe:
    """Return the int8 recipe with one choice of each kind."""
    steps: list[dict[str, object]] = [{"use": "tidy"}, {"use": "fold_batchnorm"}]
    steps += [{"use": "equalize"}] if equalize else []
    steps += [{"use": "quantize_static", "ranges": method}]
    return Recipe(name="bench", summary="", graph=tuple(steps))


def scores(want: Sequence[Any], got: Sequence[Any], labels: Sequence[int]) -> dict[str, float]:
    """Compare two lists of outputs."""
    first = next(iter(want[0]))
    a, b = (np.concatenate([run[first] for run in runs]).argmax(-1) for runs in (want, got))
    found = {"n": len(a), "agreement": float(np.mean(a == b))}
    known = np.array(labels) >= 0 if labels else np.zeros(0, bool)
    if known.any():
        truth = np.array(labels)[known]
        found["top1_float"] = float(np.mean(a[known] == truth))
        found["top1"] = float(np.mean(b[known] == truth))
    found["sqnr_db"] = fidelity(want, got)[2] or float("inf")
    return found


def main(path: str, data: str, aim: str = "x86_64") -> None:
    """Build every combination and print what it does."""
    model = read(Path(path)).model
    face = signature(model)
    code = runpy.run_path(data)
    whole = open_dataset(code["calibration"], face, labelled=False)
    half = len(whole) // 2
    calibration = whole.take(range(0, 2 * half, 2))
    judged = list(open_dataset(code["evaluation"], face, labelled=True))
    sets: dict[str, tuple[list[Item], list[int]]] = {
        "selection": (list(whole.take(range(1, 2 * half, 2))), []),
        "evaluation": (judged, [int(item.labels[0]) for item in judged]),
    }
    result: dict[str, Any] = {"command": f"python {shlex.join(sys.argv)}", "calibrated_on": half}
    plain: dict[str, Any] = {}
    for equalize in (False, True):
        for method in METHODS:
            bound = plan(recipe(method, equalize=equalize), target.load(aim))
            start = time.process_time()
            made = rewrite(bound, model, face, calibration)
            entry: dict[str, Any] = {"cpu_seconds": time.process_time() - start}
            for name, (items, labels) in sets.items():
                if name not in plain:
                    plain[name] = evaluate(made.float_.data, items, face, Options()).outputs
                options = Options(exact=True)
                got = evaluate(made.candidates[0].data, items, face, options).outputs
                entry[name] = scores(plain[name], got, labels)
            result[method + (" equalized" if equalize else "")] = entry
            print(method, equalize, json.dumps(entry), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
