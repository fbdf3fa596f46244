"""CPU time of a node with 16-bit activations over float32, and over 8 bits, in ONNX Runtime's CPU.

Usage: ``python benchmarks/avx2.py benchmarks/quantization/int16.py``, half a minute. One node
between two conversions, 8-bit weights, one thread; the three forms take turns in one process. The
operators that the runtime runs are listed: for 16 bits they are those of float32 and conversions.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

RESULT = Path(__file__).with_suffix(".json")
ROUNDS, RUNS = 15, 40
NODES: dict[str, tuple[str, list[int], tuple[int, ...], dict[str, Any]]] = {
    "conv 3x3, 64 -> 64, 28x28": ("Conv", [1, 64, 28, 28], (64, 64, 3, 3), {"pads": [1] * 4}),
    "conv 1x1, 32 -> 192, 28x28": ("Conv", [1, 32, 28, 28], (192, 32, 1, 1), {}),
    "depthwise 3x3, 192, 28x28": (
        "Conv",
        [1, 192, 28, 28],
        (192, 1, 3, 3),
        {"pads": [1] * 4, "group": 192},
    ),
    "matmul 64x384 @ 384x1536": ("MatMul", [1, 64, 384], (384, 1536), {}),
}
TYPES = {"float32": None, "int8": np.uint8, "int16": np.uint16}


def model(name: str, kind: type[np.integer[Any]] | None) -> onnx.ModelProto:
    """Return one node: in float, or between codes of ``kind``."""
    op, shape, size, attributes = NODES[name]
    weight = (np.random.default_rng(0).standard_normal(size) / 20).astype(np.float32)
    constants, nodes = {"w": weight}, [helper.make_node(op, ["x", "w"], ["y"], **attributes)]
    if kind is not None:
        info, axis = np.iinfo(kind), 0 if op == "Conv" else 1
        peak = np.abs(np.moveaxis(weight, axis, 0)).reshape(size[axis], -1).max(axis=1)
        scale = (peak / 63).astype(np.float32)  # 7 bits: nothing saturates
        wide = scale.reshape([-1 if a == axis else 1 for a in range(len(size))])
        constants = {
            "w": np.rint(weight / wide).astype(np.int8),
            "ws": scale,
            "wz": np.zeros(size[axis], np.int8),
            "s": np.float32(8 / info.max),
            "s2": np.float32(16 / info.max),
            "z": kind(info.max // 2 + 1),
        }
        pairs = (("x", "s", "a"), ("c", "s2", "d"))
        before, after = (
            [
                helper.make_node("QuantizeLinear", [source, step, "z"], [f"{end}q"]),
                helper.make_node("DequantizeLinear", [f"{end}q", step, "z"], [end]),
            ]
            for source, step, end in pairs
        )
        restore = helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis)
        middle = helper.make_node(op, ["a", "wd"], ["c"], **attributes)
        nodes = [*before, restore, middle, *after]
    graph = helper.make_graph(
        nodes,
        "node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y" if kind is None else "d", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), each) for each, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def opened(proto: onnx.ModelProto) -> tuple[ort.InferenceSession, list[str]]:
    """Open a model on one thread; return what the runtime made of it, too."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        session = ort.InferenceSession(proto.SerializeToString(), options)
        made = onnx.load(options.optimized_model_filepath)
    return session, [node.op_type for node in made.graph.node]


def measure(name: str) -> dict[str, Any]:
    """Return ratios of a node with the interval of their median, and the operators that ran."""
    shape = NODES[name][1]
    sample = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    sessions = {kind: opened(model(name, each)) for kind, each in TYPES.items()}
    rounds = []
    for _ in range(ROUNDS):
        taken: dict[str, list[float]] = {kind: [] for kind in sessions}
        for _ in range(RUNS):
            for kind, (session, _ops) in sessions.items():
                start = time.process_time_ns()
                session.run(None, sample)
                taken[kind].append(time.process_time_ns() - start)
        rounds.append({kind: float(np.percentile(each, 25)) for kind, each in taken.items()})
    found: dict[str, Any] = {"operators": {kind: ops for kind, (_, ops) in sessions.items()}}
    for kind in ("int8", "int16"):
        ratios = sorted(each[kind] / each["float32"] for each in rounds)
        # order statistics 4 and 12 of 15: 96 % (Conover 1999, section 3.2)
        found[f"{kind} over float32"] = {
            "median": round(ratios[ROUNDS // 2], 3),
            "interval": [round(ratios[3], 3), round(ratios[-4], 3)],
        }
    return found


if __name__ == "__main__":
    result = {name: measure(name) for name in NODES}
    about = {"onnxruntime": ort.__version__, "rounds": ROUNDS, "runs": RUNS}
    RESULT.write_text(json.dumps({**about, "nodes": result}, indent=1) + "\n", encoding="utf-8")
