"""What bias correction does to static int8, on samples that served no choice.

Usage: ``python benchmarks/bias.py MODEL.onnx DATA.py [STEP ...]`` adds to
``benchmarks/results/bias.json``. Exact mode; DATA.py has ``calibration`` and ``evaluation``. STEPs
are lossless ones between ``fold_batchnorm`` and ``quantize_static``, such as ``equalize``.
"""

import json
import runpy
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.base.files import write_whole
from edgepack.data.fidelity import fidelity
from edgepack.data.samples import open_dataset
from edgepack.gate.candidates import rewrite
from edgepack.gate.evaluate import evaluate
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import target
from edgepack.spec.recipe import Recipe

RESULT = Path(__file__).parent / "results" / "bias.json"
RESAMPLES = 2000


def interval(gains: np.ndarray, groups: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval of a mean over groups of samples, seeded."""
    sums = np.array([gains[groups == group].sum() for group in np.unique(groups)])
    sizes = np.array([(groups == group).sum() for group in np.unique(groups)])
    picks = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return [round(float(end), 2) for end in np.percentile(means, [2.5, 97.5])]


def noises(want: Any, got: Any) -> np.ndarray:
    """Return the noise of each run in dB below its signal."""
    first = next(iter(want[0]))
    ratios = [
        np.square(a[first]).sum() / max(float(np.square(a[first] - b[first]).sum()), 1e-30)
        for a, b in zip(want, got, strict=True)
    ]
    return 10 * np.log10(ratios)


def main(path: str, data: str, *steps: str) -> None:
    """Quantize with and without correction, and save what the outputs say."""
    model = read(Path(path)).model
    face, code = signature(model), runpy.run_path(data)
    calibration = open_dataset(code["calibration"], face, labelled=False)
    items = list(open_dataset(code["evaluation"], face, labelled=True))
    entry: dict[str, Any] = {"calibrated_on": len(calibration), "n": len(items)}
    runs: dict[bool, Any] = {}
    for asked in (False, True):
        listed: list[dict[str, object]] = [{"use": "tidy"}, {"use": "fold_batchnorm"}]
        listed += [{"use": step} for step in steps]
        listed += [{"use": "quantize_static", "correct_bias": asked}]
        bound = plan(Recipe(name="bench", summary="", graph=tuple(listed)), target.load("x86_64"))
        start = time.process_time()
        made = rewrite(bound, model, face, calibration)
        seconds = time.process_time() - start
        if not runs:
            scored = evaluate(made.float_.data, items, face, Options())
            want, groups = scored.outputs, np.array(scored.groups)
        runs[asked] = evaluate(made.candidates[0].data, items, face, Options(exact=True)).outputs
        agreement, cosine, sqnr = fidelity(want, runs[asked])
        entry["corrected" if asked else "plain"] = {
            "agreement": agreement,
            "cosine": cosine,
            "sqnr_db": sqnr,
            "cpu_seconds": round(seconds, 1),
        }
    gains = noises(want, runs[True]) - noises(want, runs[False])
    entry["gain_db_a_sample"] = {
        "mean": round(float(gains.mean()), 2),
        "interval_95": interval(gains, groups),
        "share_worse": round(float(np.mean(gains < 0)), 3),
    }
    found = json.loads(RESULT.read_bytes()) if RESULT.exists() else {}
    found[" ".join([Path(path).stem, *steps])] = {
        "command": f"python benchmarks/bias.py {shlex.join([Path(path).name, *sys.argv[2:]])}",
        **entry,
    }
    write_whole(RESULT, json.dumps(found, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
