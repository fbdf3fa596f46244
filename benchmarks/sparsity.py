"""What zeros cost without training: by magnitude, and weighed by second moments.

Usage: ``python benchmarks/sparsity.py MODEL.onnx DATA.py [SAMPLES]`` writes
``benchmarks/results/sparsity_MODEL.json``: the recipe ``int8-sparse`` for a saturating CPU, in
exact mode, and its float part alone, at 0, 50 and 80 % zeros, against the float model. DATA.py has
``calibration`` and ``evaluation``; SAMPLES says how many of the latter, all by default.
"""

import json
import runpy
import shlex
import sys
from collections.abc import Iterator
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
from edgepack.graph.storage import store
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import recipe, target

WEIGHTINGS = ("magnitude", "second_moments")


def steps(fraction: float, weighting: str, *, int8: bool) -> tuple[dict[str, Any], ...]:
    """Return the steps of ``int8-sparse`` with other zeros, those after ``sparsify`` if asked."""
    graph = recipe.load("int8-sparse").graph
    at = next(index for index, step in enumerate(graph) if step["use"] == "sparsify")
    sparsify = {**graph[at], "fraction": fraction, "weighting": weighting}
    return (*graph[:at], sparsify, *(graph[at + 1 :] if int8 else ()))


def variants() -> Iterator[tuple[bool, float, str]]:
    """Yield what is made; without zeros there is nothing to weigh."""
    for int8 in (False, True):
        yield int8, 0.0, "magnitude"
        for fraction in (0.5, 0.8):
            for weighting in WEIGHTINGS:
                yield int8, fraction, weighting


def main(path: str, data: str, samples: str = "1000000") -> None:
    """Make each variant, and save what its outputs say."""
    model = read(Path(path)).model
    face, code = signature(model), runpy.run_path(data)
    calibration = open_dataset(code["calibration"], face, labelled=False)
    items = list(open_dataset(code["evaluation"], face, labelled=True))[: int(samples)]
    want = evaluate(Path(path).read_bytes(), items, face, Options())
    groups = np.array(want.groups)
    asked, rows, before = recipe.load("int8-sparse"), [], np.zeros(len(items))
    for int8, fraction, weighting in variants():
        graph = steps(fraction, weighting, int8=int8)
        bound = plan(msgspec.structs.replace(asked, graph=graph), target.load("x86_64"))
        file = rewrite(bound, model, face, calibration).candidates[0].data
        got = evaluate(file, items, face, Options(exact=True)).outputs
        agreement, cosine, sqnr = fidelity(want.outputs, got)
        row = {"int8": int8, "zeros": fraction, "weighting": weighting, "agreement": agreement}
        row |= {"cosine": cosine, "sqnr_db": sqnr, "wire_bytes": store(file, "auto").wire}
        signal = noises(want.outputs, got)
        if weighting != WEIGHTINGS[0]:
            gains = signal - before
            row["gain_db_a_sample"] = round(float(gains.mean()), 2)
            row["gain_interval_95"] = interval(gains, groups)
        rows.append(row)
        before = signal
        print(json.dumps(row), file=sys.stderr, flush=True)
    command = f"python benchmarks/sparsity.py {Path(path).name} {data} {len(items)}"
    result = {"command": shlex.join(shlex.split(command)), "float_bytes": Path(path).stat().st_size}
    result |= {"calibrated_on": len(calibration), "n": len(items), "rows": rows}
    out = Path(__file__).parent / "results" / f"sparsity_{Path(path).stem}.json"
    write_whole(out, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
