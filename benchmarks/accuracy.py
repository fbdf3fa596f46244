"""Score ONNX files or bundles on a project's evaluation set; shares no code with edgepack.

Usage: ``python benchmarks/accuracy.py [--exact] [--save-input IN.npz] PROJECT FLOAT MODEL ...``
PROJECT is a folder of ``benchmarks/models``; its ``edgepack.toml`` names the metric and the state.
Every figure of MODEL is paired with FLOAT's, with the 95 % interval of a bootstrap over groups
(photographs or sequences). ``--exact`` sets ``session.x64quantprecision``, as ARM and VNNI compute;
``--save-input`` keeps the feeds of a middle run for ``neutral_timer.py``.
"""

import argparse
import json
import os
import runpy
import shlex
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort
from scipy.stats import rankdata

DRAWS = 1000
Feeds = dict[str, np.ndarray]
Figures = dict[str, object]
Score = Callable[[np.ndarray], float]  # of an array of group numbers, drawn with replacement


def open_session(path: str, *, exact: bool) -> ort.InferenceSession:
    """Open an ONNX file, or the model inside a bundle."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            return ort.InferenceSession(bundle.read("model.onnx"), options)
    return ort.InferenceSession(path, options)


def run_item(
    session: ort.InferenceSession, state: dict[str, str], sample: Feeds
) -> tuple[np.ndarray, Feeds]:
    """Return the outputs of one item, state carried along, and the feeds of its middle frame."""
    names = [o.name for o in session.get_outputs() if o.name not in state]
    if not state:
        return session.run(names[:1], sample)[0], sample
    shapes = {i.name: i.shape for i in session.get_inputs()}
    carried = {name: np.zeros(shapes[name], np.float32) for name in state.values()}
    steps, outputs = len(next(iter(sample.values()))), []
    middle: Feeds = {}
    for step in range(steps):
        feeds = {name: array[step] for name, array in sample.items()} | carried
        middle = feeds if step == steps // 2 else middle
        output, *values = session.run([names[0], *state], feeds)
        outputs.append(output)
        carried = dict(zip(state.values(), values, strict=True))
    return np.concatenate(outputs), middle


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the chance that a positive scores above a negative, ties half (Mann-Whitney U)."""
    positive = labels > 0
    n, m = positive.sum(), (~positive).sum()
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def interval(score: Score, groups: int) -> Figures:
    """Return the score with its bootstrap interval over groups."""
    draw = np.random.default_rng(0)
    scores = [score(draw.integers(0, groups, groups)) for _ in range(DRAWS)]
    low, high = np.percentile(scores, [2.5, 97.5])
    return {"value": score(np.arange(groups)), "interval": [float(low), float(high)]}


def by_group(arrays: list[np.ndarray], groups: list[int]) -> list[np.ndarray]:
    """Join the rows of each group."""
    return [
        np.concatenate([a for a, g in zip(arrays, groups, strict=True) if g == group])
        for group in sorted(set(groups))
    ]


def classes(plain: list[np.ndarray], other: list[np.ndarray], labels: list[np.ndarray]) -> Figures:
    """Compare top classes: agreement on all, true top-1 on the standard crop where labelled."""
    same = [a.argmax(1) == b.argmax(1) for a, b in zip(plain, other, strict=True)]
    known = [i for i, label in enumerate(labels) if label[0] >= 0]
    top1: Figures = {
        f"top1_{crops}": {
            kind: float(np.mean([np.mean(o[i].argmax(1)[:n] == labels[i][:n]) for i in known]))
            for kind, o in (("float", plain), ("model", other))
        }
        for crops, n in (("standard_crop", 1), ("all_crops", None))
    }
    agreement = interval(lambda g: float(np.mean(np.concatenate([same[i] for i in g]))), len(same))
    sizes: Figures = {"n": sum(map(len, same)), "groups": len(same), "labelled_groups": len(known)}
    return {**sizes, "agreement": agreement, **top1}


def detection(
    plain: list[np.ndarray], other: list[np.ndarray], labels: list[np.ndarray]
) -> Figures:
    """Compare scores of a detector: AUC of both, the paired drop, decisions flipped at 0.5."""

    def area(scores: list[np.ndarray], groups: np.ndarray) -> float:
        picked = [np.concatenate([part[g] for g in groups]) for part in (scores, labels)]
        return auc(*picked)

    every = np.arange(len(labels))
    flipped = [np.sum((a > 0.5) != (b > 0.5)) for a, b in zip(plain, other, strict=True)]
    one, two = np.concatenate(plain), np.concatenate(other)
    return {
        "n": len(one),
        "groups": len(labels),
        "auc": {"float": area(plain, every), "model": area(other, every)},
        "auc_by_group": [
            [auc(a, label), auc(b, label)] for a, b, label in zip(plain, other, labels, strict=True)
        ],
        "drop": interval(lambda g: area(plain, g) - area(other, g), len(labels)),
        "flips_at_half": int(np.sum(flipped)),
        "flips_interval": interval(lambda g: float(np.take(flipped, g).sum()), len(labels)),
        "mean_abs_difference": float(np.abs(one - two).mean()),
    }


def embeddings(plain: list[np.ndarray], other: list[np.ndarray], _: list[np.ndarray]) -> Figures:
    """Compare sentence vectors: cosine to the float model's, same nearest neighbour."""
    one, two = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in map(np.concatenate, (plain, other))
    )
    cosine = (one * two).sum(axis=1)
    nearest = [(rows @ rows.T - 2 * np.eye(len(rows))).argmax(axis=1) for rows in (one, two)]
    return {
        "n": len(one),
        "cosine": interval(lambda g: float(cosine[g].mean()), len(one)),
        "worst_cosine": float(cosine.min()),
        "same_neighbour": float((nearest[0] == nearest[1]).mean()),
    }


COMPARISONS = {"agreement": classes, "auc": detection, "cosine": embeddings}


def main() -> None:
    """Run all models over the evaluation set and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--save-input", type=Path)
    parser.add_argument("project", type=Path)
    parser.add_argument("models", nargs="+", help="the float model first")
    request = parser.parse_args()
    facts = tomllib.loads((request.project / "edgepack.toml").read_text())
    state = facts["model"].get("state", {})
    items = list(runpy.run_path(str(request.project / "data.py"))["evaluation"]())
    groups = [group for _, _, group in items]
    labels = by_group([np.atleast_1d(label) for _, label, _ in items], groups)
    scores: dict[str, list[np.ndarray]] = {}
    for path in request.models:
        session = open_session(path, exact=request.exact)
        runs = [run_item(session, state, sample) for sample, _, _ in items]
        scores[path] = by_group([output for output, _ in runs], groups)
        if request.save_input and path == request.models[0]:
            np.savez(request.save_input, allow_pickle=False, **runs[len(runs) // 2][1])
    compare = COMPARISONS[facts["data"]["metric"]]
    result = {"command": f"python {shlex.join(sys.argv)}", "onnxruntime": ort.__version__}
    result["mode"] = "exact" if request.exact else "default"
    plain = scores[request.models[0]]
    for path in request.models[1:]:
        result[path] = compare(plain, scores[path], labels)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
