"""What zeros cost without training: by magnitude or second moments, in tensors or channels.

Usage: ``python benchmarks/sparsity.py MODEL.onnx DATA.py [SAMPLES [ERROR ...]]`` writes
``benchmarks/results/sparsity_MODEL.json``, with ERRORs ``sparsity_MODEL_error.json``: the recipe
``int8-sparse`` for a saturating CPU, in exact mode, and its float part alone, at 0, 50 and 80 %
zeros, or with as many as an error budget gives, against the float model. A gain is over magnitude
in the same scope. DATA.py has ``calibration`` and ``evaluation``; SAMPLES says how many of the
latter, all by default.
"""

import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from bias import interval, noises
from onnx import numpy_helper

from edgepack.base.files import write_whole
from edgepack.bundle.archive import packed_size
from edgepack.data.fidelity import fidelity
from edgepack.data.samples import open_dataset
from edgepack.gate.candidates import rewrite
from edgepack.gate.evaluate import evaluate
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.plan import plan
from edgepack.runtime.session import Options
from edgepack.spec import recipe, target

WEIGHTINGS = ("magnitude", "second_moments")
FRACTIONS = ({"fraction": 0.5}, {"fraction": 0.8})


def steps(changes: dict[str, Any], *, int8: bool) -> tuple[dict[str, Any], ...]:
    """Return the steps of ``int8-sparse`` with other zeros, those after ``sparsify`` if asked."""
    graph = recipe.load("int8-sparse").graph
    at = next(index for index, step in enumerate(graph) if step["use"] == "sparsify")
    sparsify = {**graph[at], **changes}
    return (*graph[:at], sparsify, *(graph[at + 1 :] if int8 else ()))


def variants(errors: Sequence[float]) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield what is made; without zeros there is nothing to weigh."""
    for int8 in (False, True):
        yield int8, {"fraction": 0.0, "scope": "tensor", "weighting": "magnitude"}
        limits = [{"fraction": 1.0, "error": error} for error in errors]
        for limit, scope in product(limits or FRACTIONS, ("tensor", "channel")):
            for weighting in WEIGHTINGS:
                yield int8, {**limit, "scope": scope, "weighting": weighting}


def zeros(file: bytes) -> float:
    """Return the share of zeros in the weights of a model."""
    tensors = onnx.ModelProto.FromString(file).graph.initializer
    arrays = [numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) > 1]
    return sum(int((a == 0).sum()) for a in arrays) / sum(a.size for a in arrays)


def main(path: str, data: str, samples: str = "1000000", *errors: str) -> None:
    """Make each variant, and save what its outputs say."""
    model = read(Path(path)).model
    face, code = signature(model), runpy.run_path(data)
    calibration = open_dataset(code["calibration"], face, labelled=False)
    items = list(open_dataset(code["evaluation"], face, labelled=True))[: int(samples)]
    want = evaluate(Path(path).read_bytes(), items, face, Options())
    groups = np.array(want.groups)
    asked, rows, before = recipe.load("int8-sparse"), [], np.zeros(len(items))
    for int8, changes in variants(tuple(map(float, errors))):
        graph = steps(changes, int8=int8)
        bound = plan(msgspec.structs.replace(asked, graph=graph), target.load("x86_64"))
        file = rewrite(bound, model, face, calibration).candidates[0].data
        got = evaluate(file, items, face, Options(exact=True)).outputs
        agreement, cosine, sqnr = fidelity(want.outputs, got)
        row = {"int8": int8, **changes, "agreement": agreement, "cosine": cosine}
        row |= {"sqnr_db": sqnr, "zeros": round(zeros(file), 4), "wire_bytes": packed_size(file)}
        signal = noises(want.outputs, got)
        if changes["weighting"] != WEIGHTINGS[0]:
            gains = signal - before
            row["gain_db_a_sample"] = round(float(gains.mean()), 2)
            row["gain_interval_95"] = interval(gains, groups)
        rows.append(row)
        before = signal
        print(json.dumps(row), file=sys.stderr, flush=True)
    words = [Path(path).name, data, str(len(items)), *errors]
    command = " ".join(["python", "benchmarks/sparsity.py", *words])
    result = {"command": command, "float_bytes": Path(path).stat().st_size}
    result |= {"calibrated_on": len(calibration), "n": len(items), "rows": rows}
    name = f"sparsity_{Path(path).stem}{'_error' if errors else ''}.json"
    out = Path(__file__).parent / "results" / name
    write_whole(out, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
