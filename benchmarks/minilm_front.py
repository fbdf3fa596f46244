"""Score MiniLM after each pass of ``int8-dynamic``, on sentences that served no choice.

Usage: ``python benchmarks/minilm_front.py FLOAT.onnx FOLDER [VARIANT ...]``. FLOAT comes from
``models/minilm/model.py``; the models land in FOLDER, with one input for ``neutral_timer.py``.
The 100 sentences of ``models/minilm`` calibrate. The 500 evaluated there were looked at while
thresholds were set, so the 500 after them are scored.
"""

import hashlib
import json
import runpy
import shlex
import sys
import sysconfig
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgepack.base import registry
from edgepack.data.samples import open_dataset
from edgepack.gate.evidence import Evidence
from edgepack.graph.census import signature
from edgepack.graph.read import read
from edgepack.graph.write import to_bytes
from edgepack.passes import Context, apply
from edgepack.spec.step import Step
from edgepack.spec.target import load

FEWEST, SCORED = 600, 500
GPTQ = "quantize_dynamic rounding gptq"
VARIANTS = {
    "float": ("tidy",),
    "float_parted": ("tidy", "part_norms"),
    "float_parted_attention": ("tidy", "part_norms", "fuse_attention"),
    "int8": ("tidy", "quantize_dynamic"),
    "int8_parted": ("tidy", "part_norms", "quantize_dynamic"),
    "int8_smooth": ("tidy", "part_norms", "smooth", "quantize_dynamic"),
    "int8_smooth_split": ("tidy", "part_norms", "smooth", "split_outliers", "quantize_dynamic"),
    "int8_split_smooth": ("tidy", "part_norms", "split_outliers", "smooth", "quantize_dynamic"),
    "int8_exact_gelu": ("tidy", "part_norms", "smooth", "split_outliers", GPTQ),
    "int8_gptq": ("tidy", "part_norms", "smooth", "split_outliers", GPTQ, "approximate_gelu"),
    "int8_gptq_16": (
        *("tidy", "part_norms", "smooth", "split_outliers units 16"),
        *(GPTQ, "approximate_gelu"),
    ),
    "int4": ("tidy", "part_norms", "quantize_weights bits 4"),
    "int8_split_gptq": ("tidy", "part_norms", "split_outliers", "smooth", GPTQ),
}
"""``int8_gptq`` is the recipe ``int8-dynamic`` as it ships."""


def sentences(data: dict[str, object]) -> list[str]:
    """Return all sentences in the order of ``models/minilm/data.py``."""
    found: set[str] = set()
    root = Path(sysconfig.get_path("stdlib"))
    for path in root.rglob("*.py"):
        if not set(path.relative_to(root).parts) & set(data["LEFT_OUT"]):  # type: ignore[call-overload]
            found.update(data["_paragraphs"](path))  # type: ignore[operator]
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).hexdigest())


def vectors(model: bytes, feeds: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the embedding of each sentence."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds]).astype(np.float64)


def _step(use: str, field: list[str]) -> Step:
    """Return a pass, with one field set where it is named with its value."""
    kind: type[Step] = registry.find("passes", use)
    if not field:
        return kind()
    name, text = field
    return kind(**{name: int(text) if text.isdigit() else text})


def main(source: str, folder: Path, names: list[str]) -> None:
    """Make, save and score every variant."""
    data = runpy.run_path(str(Path(__file__).parent / "models/minilm/data.py"))
    listed = list(data["calibration"]())
    scored = [data["encode"](text) for text in sentences(data)[FEWEST : FEWEST + SCORED]]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "input.npz", **scored[0])
    model = read(Path(source)).model
    face = signature(model)
    calibration = open_dataset(listed, face, labelled=False)
    want = vectors(Path(source).read_bytes(), scored)
    result: dict[str, object] = {"command": f"python {shlex.join(sys.argv)}", "n": len(scored)}
    for name in names or VARIANTS:
        steps = VARIANTS[name]
        made, seen = model, Evidence(load("x86_64"), face, calibration, histograms=False)
        context = Context(load("x86_64"), rows=seen.rows, second=seen.moments)
        for step in steps:
            use, *field = step.split()
            made, _ = apply(_step(use, field), use, made, context)
        (folder / f"{name}.onnx").write_bytes(file := to_bytes(made, 10))
        got = vectors(file, scored)
        cosines = (want * got).sum(axis=1) / np.linalg.norm(got, axis=1)
        spread = 1.96 * cosines.std(ddof=1) / len(cosines) ** 0.5
        result[name] = {
            "steps": steps,
            "cosine": cosines.mean(),
            "cosine_interval": [cosines.mean() - spread, cosines.mean() + spread],
            "cosine_least": cosines.min(),
            "bytes": len(file),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
