"""Time the forms that integer nodes can take against float ones, one node or chain at a time.

Usage: ``python benchmarks/integer_forms.py > benchmarks/results/integer_forms.json``. Ratios of
thread CPU time to float, interleaved, one thread; shares no code with edgepack.
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)
ROUNDS, RUNS, CHAIN = 9, 30, 8  # products in a chain, to drown the cost of a run
node = helper.make_node
Arrays = dict[str, np.ndarray]


def real(*shape: int) -> np.ndarray:
    """Return float32 weights that keep a signal's size."""
    return (RNG.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def codes(*shape: int) -> np.ndarray:
    """Return int8 weights within +-64."""
    return RNG.integers(-64, 65, shape).astype(np.int8)


def session(
    nodes: Sequence[NodeProto], arrays: Arrays, x: np.ndarray, out: str = "y"
) -> ort.InferenceSession:
    """Open a graph from ``x`` to ``out``."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), options)


def dynamic(
    source: str, out: str, op: str, weight: np.ndarray, scales: int
) -> tuple[list[NodeProto], Arrays]:
    """Return an integer MatMul or Conv whose input is rounded at run time."""
    names = {part: f"{out}.{part}" for part in ("q", "s", "z", "w", "ws", "wz", "i", "f", "m")}
    n = names
    nodes = [
        node("DynamicQuantizeLinear", [source], [n["q"], n["s"], n["z"]]),
        node(op, [n["q"], n["w"], n["z"], n["wz"]], [n["i"]]),
        node("Cast", [n["i"]], [n["f"]], to=TensorProto.FLOAT),
        node("Mul", [n["s"], n["ws"]], [n["m"]]),
        node("Mul", [n["f"], n["m"]], [out]),
    ]
    scale = np.full(scales, 1e-3, np.float32) if scales else np.float32(1e-3)
    return nodes, {n["w"]: weight, n["ws"]: np.asarray(scale), n["wz"]: np.asarray(np.int8(0))}


def products(rows: int, size: int) -> tuple[list[ort.InferenceSession], np.ndarray]:
    """Return float and dynamic chains of square products."""
    x, plain, whole = real(rows, size), ([], {}), ([], {})  # type: ignore[var-annotated]
    for i in range(CHAIN):
        source, out = "x" if i == 0 else f"y{i}", f"y{i + 1}"
        plain[0].append(node("MatMul", [source, f"w{i}"], [out]))
        plain[1][f"w{i}"] = real(size, size)
        nodes, arrays = dynamic(source, out, "MatMulInteger", codes(size, size), size)
        whole[0].extend(nodes)
        whole[1].update(arrays)
    return [session(*each, x, f"y{CHAIN}") for each in (plain, whole)], x


def convolution() -> tuple[list[ort.InferenceSession], np.ndarray]:
    """Return a float 3x3 convolution and ConvInteger."""
    x, kernel = real(1, 64, 28, 28), (64, 64, 3, 3)
    plain = [node("Conv", ["x", "w"], ["y"], pads=[1] * 4)], {"w": real(*kernel)}
    nodes, arrays = dynamic("x", "y", "ConvInteger", codes(*kernel), 0)
    nodes[1].attribute.append(helper.make_attribute("pads", [1] * 4))
    return [session(*plain, x), session(nodes, arrays, x)], x


def lstm(units: int, steps: int) -> tuple[list[ort.InferenceSession], np.ndarray]:
    """Return a float LSTM and DynamicQuantizeLSTM with a scale per unit."""
    x, gates = real(steps, 1, units), 4 * units
    plain = [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=units)]
    weights = {"w": real(1, gates, units), "r": real(1, gates, units)}
    scale, zero = np.full((1, gates), 1e-3, np.float32), np.zeros((1, gates), np.int8)
    whole = {"w": codes(1, units, gates), "r": codes(1, units, gates), "s": scale, "z": zero}
    inputs = ["x", "w", "r", *[""] * 5, "s", "z", "s", "z"]
    made = node("DynamicQuantizeLSTM", inputs, ["y"], domain="com.microsoft", hidden_size=units)
    return [session(plain, weights, x), session([made], whole, x)], x


def tables() -> tuple[list[ort.InferenceSession], np.ndarray]:
    """Return look-ups of 128 rows: float, codes by rows, one scale, all restored before."""
    x, table, cast = RNG.integers(0, 30522, (1, 128)), codes(30522, 384), TensorProto.FLOAT
    scale, one = np.full((30522, 1), 1e-2, np.float32), np.float32(1e-2)
    look, zero = node("Gather", ["t", "x"], ["q"]), np.int8(0)
    rows = [look, node("Cast", ["q"], ["f"], to=cast), node("Gather", ["s", "x"], ["g"])]
    after = [look, node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    before = [node("DequantizeLinear", ["t", "s", "z"], ["f"], axis=0)]
    zeros = np.zeros(30522, np.int8)
    return [
        session([node("Gather", ["t", "x"], ["y"])], {"t": real(30522, 384)}, x),
        session([*rows, node("Mul", ["f", "g"], ["y"])], {"t": table, "s": scale}, x),
        session(after, {"t": table, "s": np.asarray(one), "z": np.asarray(zero)}, x),
        session(
            [*before, node("Gather", ["f", "x"], ["y"])],
            {"t": table, "s": scale[:, 0], "z": zeros},
            x,
        ),
    ], x


def ratios(sessions: Sequence[ort.InferenceSession], x: np.ndarray) -> list[float]:
    """Return the median over rounds of each session's time over the first one's."""
    found = []
    for _ in range(ROUNDS):
        times: list[list[int]] = [[] for _ in sessions]
        for _ in range(RUNS):
            for index, each in enumerate(sessions):
                start = time.thread_time_ns()
                each.run(None, {"x": x})
                times[index].append(time.thread_time_ns() - start)
        quartiles = [float(np.percentile(each, 25)) for each in times]
        found.append([each / quartiles[0] for each in quartiles])
    return [round(float(each), 3) for each in np.median(found, axis=0)]


def main() -> None:
    """Time every form and print one JSON object."""
    sizes = (32, 64, 128, 256, 384)
    result: dict[str, object] = {
        "command": f"python {shlex.join(sys.argv)}",
        "onnxruntime": ort.__version__,
        "load_average": os.getloadavg(),
    }
    for rows in (1, 16, 128):
        result[f"dynamic MatMul, {rows} rows"] = {
            f"{size} x {size}": ratios(*products(rows, size))[1] for size in sizes
        }
    result["ConvInteger, 64 channels, 28 x 28"] = ratios(*convolution())[1]
    for units, steps in ((128, 1), (128, 50), (256, 50)):
        result[f"DynamicQuantizeLSTM, {units} units, {steps} steps"] = ratios(*lstm(units, steps))[
            1
        ]
    names = ("codes by rows", "codes, one scale", "restored before")
    result["look-up of 128 rows of 30522 x 384"] = dict(
        zip(names, ratios(*tables())[1:], strict=True)
    )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
