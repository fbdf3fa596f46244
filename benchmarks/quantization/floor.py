"""How near the models that ship come to the best their kernels do: the runtime's own profile.

Usage: ``python benchmarks/avx2.py benchmarks/quantization/floor.py [NET ...]`` on what
``latency.py`` left in ``made``. A kind of layer is its type and form (first: up to four input
channels; depthwise; pointwise; spatial; matrix); its rate is the best that any layer of the kind
reaches in this net. The floor is what all layers would take at the rates of their kinds, plus
every other node as measured. ``above`` names the layers that are farthest from theirs. Prints
times of the quietest of several sessions, the lower quartile of each node's runs.
"""

import json
import os
import shlex
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

HERE = Path(os.path.relpath(Path(__file__).parent))  # figures must not tell where they were made
MADE = HERE.parent / "made/quantization"
RESULT = HERE / "floor.json"
NETS = ("mobilenet_v2", "resnet18", "resnet50")
SESSIONS, RUNS, SHOWN = 5, 20, 6
FEW = 4  # input channels of a first layer
MULTIPLIERS = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3, "Gemm": 1, "QGemm": 3}
"""Operators that multiply by a weight, and the place of the weight among their inputs."""

Node = dict[str, Any]


def profile(model: Path, feeds: dict[str, np.ndarray]) -> list[Node]:
    """Return each node of the optimized graph with what it read and the time that it took."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        session = ort.InferenceSession(str(model), options, ["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(options.optimized_model_filepath).graph
    dims = {each.name: list(each.dims) for each in graph.initializer}
    weights = {
        f"{node.name}_kernel_time": dims[node.input[MULTIPLIERS[node.op_type]]]
        for node in graph.node
        if node.op_type in MULTIPLIERS
    }  # packed ones are no longer among the inputs that a profile tells
    found: dict[str, Node] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = found.setdefault(event["name"], {**event["args"], "times": []})
            node["weight"] = weights.get(event["name"], [])
            node["times"].append(event["dur"])
    return [{**node, "us": float(np.percentile(node["times"], 25))} for node in found.values()]


def made(node: Node) -> list[int]:
    """Return the shape of what a node makes."""
    return next(iter(node["output_type_shape"][0].values()))


def work(node: Node) -> tuple[str, int]:
    """Return the kind of a layer and its multiplications; an empty kind for other nodes."""
    if not node["weight"]:
        return "", 0
    kind = "int8" if node["op_name"].startswith("Q") else "float"
    if "Gemm" in node["op_name"]:
        return f"{kind} matrix", int(np.prod(node["weight"]))
    filters, each, *kernel = node["weight"]
    area = int(np.prod(kernel))
    if each == 1 and filters > 1:
        form = "depthwise"
    elif each <= FEW:
        form = "first"
    else:
        form = "pointwise" if area == 1 else "spatial"
    return f"{kind} {form}", int(np.prod(made(node))) * each * area


def judge(nodes: list[Node]) -> dict[str, Any]:
    """Compare one session with its floor."""
    layers = [(node, *work(node)) for node in nodes]
    rates: dict[str, float] = {}
    for node, kind, count in layers:
        if kind:
            rates[kind] = max(rates.get(kind, 0.0), count / node["us"])
    other: Counter[str] = Counter()
    kinds: dict[str, dict[str, float]] = {}
    above = []
    for node, kind, count in layers:
        if not kind:
            other[node["op_name"]] += node["us"]
            continue
        entry = kinds.setdefault(kind, {"layers": 0, "us": 0.0, "floor_us": 0.0})
        best = count / rates[kind]
        entry["layers"] += 1
        entry["us"] += node["us"]
        entry["floor_us"] += best
        entry["best_gmacs"] = rates[kind] / 1e3
        shape = "x".join(map(str, made(node)[1:]))
        text = f"{kind} to {shape}, {count / node['us'] / 1e3:.1f} GMAC/s"
        above.append((node["us"] - best, text))
    total = sum(node["us"] for node in nodes)
    floor = sum(entry["floor_us"] for entry in kinds.values()) + sum(other.values())
    worst = sorted(above, reverse=True)[:SHOWN]
    return {
        "us": total,
        "floor_us": floor,
        "times_the_floor": total / floor,
        "kinds": kinds,
        "other_us": dict(other),
        "above": [{"layer": text, "us_above": us} for us, text in worst],
    }


def main(names: list[str]) -> None:
    """Profile each net and write what was found."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in names or NETS:
        folder = MADE / name
        with np.load(folder / "data.npz") as data:
            feeds = {"x": data["x"][:1]}
        before = os.getloadavg()
        sessions = [judge(profile(folder / "int8.onnx", feeds)) for _ in range(SESSIONS)]
        ratios = sorted(session["times_the_floor"] for session in sessions)
        quietest = min(sessions, key=lambda session: session["us"])
        result[name] = quietest | {
            "times_the_floor_of_sessions": ratios,
            "command": f"python benchmarks/avx2.py {shlex.join(sys.argv)}",
            "load_average": {"before": before, "after": os.getloadavg()},
            "onnxruntime": ort.__version__,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{name}: {quietest['times_the_floor']:.3f} times the floor")


if __name__ == "__main__":
    main(sys.argv[1:])
