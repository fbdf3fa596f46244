"""Tiny ONNX models, one per shape of graph that readers and passes must survive; no torch here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

Array = npt.NDArray[np.generic]


def value(
    name: str, shape: Sequence[int | str] | None, kind: int = onnx.TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def proto(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    inputs: Sequence[onnx.ValueInfoProto] = (value("x", [2, 4]),),
    outputs: Sequence[onnx.ValueInfoProto] = (value("y", None),),
    opset: int = 18,
) -> onnx.ModelProto:
    """Assemble a model; the caller may then damage it."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weight(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear_proto(array: Array | None = None) -> onnx.ModelProto:
    """Return ``y = x @ w`` with ``x`` of shape (2, 4) and ``w`` of shape (4, 3)."""
    return proto(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        {"w": weight(4, 3) if array is None else array},
    )


def save_external(folder: Path, location: str = "w.bin", **entries: str) -> Path:
    """Write ``linear_proto`` with its weight in ``folder/w.bin`` and return the model's path.

    The model names ``location`` and ``entries`` (offset, length), true or not.
    """
    model = linear_proto()
    tensor = model.graph.initializer[0]
    (folder / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=text)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def linear(*, rows: int = 64, cols: int = 64, seed: int = 0) -> ir.Model:
    """Return ``y = x @ w`` with ``x`` of shape ("batch", rows)."""
    return ir.from_proto(
        proto(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
            {"w": weight(rows, cols, seed=seed)},
            inputs=[value("x", ["batch", rows])],
            outputs=[value("y", ["batch", cols])],
        )
    )


def convolutional(*, channels: int = 8, seed: int = 0) -> ir.Model:
    """Return Conv, BatchNormalization, Relu, Conv, Add (residual), GlobalAveragePool, Gemm.

    The input ``image`` has shape ("batch", 3, 16, 16), the output ``scores`` ("batch", 10).
    """
    c, node = channels, helper.make_node
    weights: dict[str, Array] = {
        "w1": weight(c, 3, 3, 3, seed=seed) / 5,
        "w2": weight(c, c, 3, 3, seed=seed + 1) / 8,
        "scale": 1 + weight(c, seed=seed + 2) / 4,
        "shift": weight(c, seed=seed + 3) / 4,
        "mean": weight(c, seed=seed + 4) / 4,
        "variance": 1 + np.abs(weight(c, seed=seed + 5)),
        "wf": weight(10, c, seed=seed + 6),
        "bf": weight(10, seed=seed + 7),
    }
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        node(
            "BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["b1"], name="bn1"
        ),
        node("Relu", ["b1"], ["r1"], name="relu1"),
        node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "r1"], ["a"], name="add"),
        node("GlobalAveragePool", ["a"], ["p"], name="pool"),
        node("Flatten", ["p"], ["f"], name="flatten"),
        node("Gemm", ["f", "wf", "bf"], ["scores"], name="gemm", transB=1),
    ]
    return ir.from_proto(
        proto(
            nodes,
            weights,
            inputs=[value("image", ["batch", 3, 16, 16])],
            outputs=[value("scores", ["batch", 10])],
        )
    )
