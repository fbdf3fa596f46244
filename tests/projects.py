"""A small real task as files: two classes of noisy stripes, a convolutional net, data apart."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 8


def stripes(count: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return images ``(count, 1, 8, 8)`` with noise and the direction of their stripes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    phase = rng.integers(0, 2, count)
    line = (np.arange(SIZE)[None, :] + phase[:, None]) % 2
    across = np.repeat(line[:, None, :], SIZE, axis=1)
    images = np.where(labels[:, None, None] == 0, across, across.transpose(0, 2, 1))
    noisy = images + rng.normal(0, 0.15, images.shape)
    return noisy[:, None].astype(np.float32), labels.astype(np.int64)


def stripes_net() -> onnx.ModelProto:
    """Return a net that tells stripes apart: edge filters, a mean, a matrix; no training needed."""
    rng = np.random.default_rng(0)
    edges = rng.normal(0, 0.05, (8, 1, 3, 3)).astype(np.float32)
    edges[:4, 0, 1, 0], edges[:4, 0, 1, 2], edges[:4, 0, 1, 1] = -0.5, -0.5, 1.0
    edges[4:, 0, 0, 1], edges[4:, 0, 2, 1], edges[4:, 0, 1, 1] = -0.5, -0.5, 1.0
    mix = (np.eye(8) + rng.normal(0, 0.02, (8, 8))).astype(np.float32)[:, :, None, None]
    head = np.concatenate([np.tile([[1.0, -1.0]], (4, 1)), np.tile([[-1.0, 1.0]], (4, 1))])
    weights = {
        "edges": edges,
        "mix": mix,
        "head": head.astype(np.float32),
        "bias": np.array([0.1, -0.1], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "edges"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "mix"], ["c"], name="second"),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "head", "bias"], ["scores"], name="classify"),
    ]
    graph = helper.make_graph(
        nodes,
        "stripes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


def unbalance(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make half of the channels between the convolutions a thousand times larger; same outputs."""
    factor = np.repeat(np.array([1, 1000], np.float32), 4)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name == "edges":
            tensor.CopyFrom(numpy_helper.from_array(array * factor.reshape(8, 1, 1, 1), "edges"))
        if tensor.name == "mix":
            tensor.CopyFrom(numpy_helper.from_array(array / factor.reshape(1, 8, 1, 1), "mix"))
    return model


def write_stripes(folder: Path) -> Path:
    """Write ``model.onnx``, ``calib.npz`` and ``eval.npz`` and return ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(stripes_net(), folder / "model.onnx")
    np.savez(folder / "calib.npz", image=stripes(64, 1)[0])
    images, labels = stripes(200, 2)
    np.savez(folder / "eval.npz", image=images, labels=labels)
    return folder
