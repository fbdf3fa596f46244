"""What GPTQ rounding of 8-bit matrices does, on samples that served no choice.

Usage: ``python benchmarks/rounding.py MODEL.onnx DATA.py`` writes
``benchmarks/results/rounding.json``: the recipe ``int8-dynamic`` for a saturating CPU, in exact
mode, with matrices rounded to nearest and by GPTQ. DATA.py has ``calibration`` and ``evaluation``.
"""

import json
import runpy
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from bias import interval, noises

from edgepack.base.files import write_whole
from edgepack.data.fidelity import fidelity
from edgepack.data.samples import open_dataset
from edgepack.gate.candidates import rewrite
from edgepack.gate.evaluate import evaluate
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import recipe, target

RESULT = Path(__file__).parent / "results" / "rounding.json"


def main(path: str, data: str) -> None:
    """Quantize with either rounding, and save what the outputs say."""
    model = read(Path(path)).model
    face, code = signature(model), runpy.run_path(data)
    calibration = open_dataset(code["calibration"], face, labelled=False)
    items = list(open_dataset(code["evaluation"], face, labelled=True))
    asked = recipe.load("int8-dynamic")
    command = f"python benchmarks/rounding.py {Path(path).name} {data}"
    result: dict[str, Any] = {"command": shlex.join(shlex.split(command))}
    result |= {"calibrated_on": len(calibration), "n": len(items)}
    runs: list[Any] = []
    for rounding in ("nearest", "gptq"):
        steps = [
            {**step, "rounding": rounding} if step["use"] == "quantize_dynamic" else step
            for step in asked.graph
        ]
        bound = plan(msgspec.structs.replace(asked, graph=tuple(steps)), target.load("x86_64"))
        start = time.process_time()
        made = rewrite(bound, model, face, calibration)
        seconds = time.process_time() - start
        if not runs:
            scored = evaluate(made.float_.data, items, face, Options())
            want, groups = scored.outputs, np.array(scored.groups)
        runs.append(evaluate(made.candidates[0].data, items, face, Options(exact=True)).outputs)
        agreement, cosine, sqnr = fidelity(want, runs[-1])
        result[rounding] = {
            "agreement": agreement,
            "cosine": cosine,
            "sqnr_db": sqnr,
            "bytes": len(made.candidates[0].data),
            "cpu_seconds": round(seconds, 1),
        }
    gains = noises(want, runs[1]) - noises(want, runs[0])
    result["gain_db_a_sample"] = {
        "mean": round(float(gains.mean()), 2),
        "interval_95": interval(gains, groups),
        "share_worse": round(float(np.mean(gains < 0)), 3),
    }
    write_whole(RESULT, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
