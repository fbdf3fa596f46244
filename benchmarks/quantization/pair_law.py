"""What the pair law costs weights, and that default and exact mode then compute the same bits.

Usage: ``python benchmarks/avx2.py benchmarks/quantization/pair_law.py MODEL.onnx ...``: there the
kernels of the default mode saturate. Each model is quantized by the recipes ``int8`` and
``int8-dynamic`` without any gate, once under the law and once with free 8-bit weights; the latter
shows that the modes could differ. Inputs are random and also calibrate. Signal over noise is that
of all weights that the law binds; ``reduce_range`` is ONNX Runtime's, codes of +-64 per channel.
A model is named by its file, one in ``made/quantization`` by its folder.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgepack.data.fidelity import fidelity
from edgepack.data.made_up import made_up
from edgepack.data.samples import open_dataset
from edgepack.gate.candidates import Rewritten, rewrite
from edgepack.graph.census import signature
from edgepack.graph.constants import constant
from edgepack.graph.kernels import WEIGHTED
from edgepack.graph.read import read
from edgepack.plan import plan
from edgepack.quantization.placement import is_depthwise, output_axis, why_not_weighted
from edgepack.quantization.scales import quantize_weight
from edgepack.quantization.scheme import scheme_for
from edgepack.runtime.session import Options, Session
from edgepack.spec import recipe, target
from edgepack.spec.signature import Sample
from edgepack.spec.target import Int8, Target

HERE = Path(__file__).parent
RESULT = HERE / "pair_law.json"
RECIPES = ("int8", "int8-dynamic")
SEEDS = 4
LAWFUL = Int8("uint8", saturating=True)
FREE = Int8("uint8")


def made(path: Path, name: str, facts: Int8) -> tuple[Rewritten, list[Sample]]:
    """Quantize a model by a recipe; return it with random samples."""
    model = read(path).model
    face = signature(model)
    drawn = [item.samples[0] for seed in range(SEEDS) for item in made_up(face, seed)]
    aim: Target = msgspec.structs.replace(target.load("x86_64"), int8=facts)
    data = open_dataset(drawn, face, labelled=False)
    return rewrite(plan(recipe.load(name), aim), model, face, data), drawn


def modes(path: Path, name: str, facts: Int8) -> dict[str, Any]:
    """Compare the outputs of default and exact mode, run by run."""
    found, drawn = made(path, name, facts)
    data = found.candidates[0].data
    default, exact = (
        [session.run(sample) for sample in drawn]
        for session in (Session(data, Options(exact=mode)) for mode in (False, True))
    )
    same = [all(np.array_equal(a[k], b[k]) for k in a) for a, b in zip(default, exact, strict=True)]
    return {"runs": len(same), "bit_equal": sum(same), "db": fidelity(exact, default)[2]}


def weights(path: Path) -> dict[str, float]:
    """Return signal over noise in dB of the weights that the law binds, all together."""
    float_ = made(path, "int8", LAWFUL)[0].float_
    signal, noise = 0.0, dict.fromkeys(("pair_law", "reduce_range", "free"), 0.0)
    for node in float_.model.graph:
        if node.op_type not in WEIGHTED or why_not_weighted(node) or is_depthwise(node):
            continue
        array = constant(node.inputs[1])
        assert array is not None
        axis = output_axis(node)
        shape = [-1 if index == axis else 1 for index in range(array.ndim)]
        signal += float(np.square(array, dtype=np.float64).sum())
        for name, facts in (("pair_law", LAWFUL), ("free", FREE)):
            scheme, least = scheme_for(facts), np.zeros(array.shape[axis])
            packed = quantize_weight(array, axis, scheme, least)
            restored = packed.codes * packed.scale.astype(np.float64).reshape(shape)
            noise[name] += float(np.square(restored - array).sum())
        rest = tuple(index for index in range(array.ndim) if index != axis)
        scale = np.maximum(
            np.abs(array).max(axis=rest, keepdims=True).astype(np.float64) / 64, 1e-30
        )
        noise["reduce_range"] += float(np.square(np.rint(array / scale) * scale - array).sum())
    return {name: float(10 * np.log10(signal / power)) for name, power in noise.items()}


def main(paths: list[str]) -> None:
    """Judge each model and write what was found."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for path in map(Path, paths):
        name = path.parent.name if path.stem == "float" else path.stem
        found: dict[str, Any] = {"weights_db": weights(path)}
        for each in RECIPES:
            found[each] = {"law": modes(path, each, LAWFUL), "free": modes(path, each, FREE)}
        result[name] = found
        print(name, json.dumps(found))
    result["command"] = (
        f"python benchmarks/avx2.py {shlex.join([os.path.relpath(sys.argv[0])])} ..."
    )
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
