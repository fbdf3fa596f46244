"""Networks with seeded random weights, for what depends on shapes and not on what was learned.

Instruction counts, estimated cost and agreement between CPUs are such things. Weights are drawn
so that signals keep their size (He et al. 2015, arXiv:1502.01852, eq. (10)); batch norms are
folded away. Every network has the input ``x`` and the output ``y``.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[np.generic]


class Builder:
    """Adds nodes one after the other; methods take and return the name of a value."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.arrays: dict[str, Array] = {}

    def constant(self, array: Array) -> str:
        """Add an initializer."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """Add normal weights of the given standard deviation."""
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output."""
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=f"n{out[1:]}", **attributes))
        return out

    def conv(
        self, x: str, shape: tuple[int, int, int], stride: int = 1, *, depthwise: bool = False
    ) -> str:
        """Add a convolution; ``shape`` is input channels, output channels, width of the kernel."""
        inputs, outputs, k = shape
        group = inputs if depthwise else 1
        fan = inputs // group * k * k
        weight = self.normal(outputs, inputs // group, k, k, scale=(2 / fan) ** 0.5)
        bias = self.normal(outputs, scale=0.1)
        pads = [k // 2] * 4
        return self.node("Conv", x, weight, bias, pads=pads, strides=[stride] * 2, group=group)

    def relu6(self, x: str) -> str:
        """Clip to [0, 6]."""
        low, high = (self.constant(np.float32(limit)) for limit in (0, 6))
        return self.node("Clip", x, low, high)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """Add a matrix product and a bias."""
        product = self.node("MatMul", x, self.normal(inputs, outputs, scale=inputs**-0.5))
        return self.node("Add", product, self.normal(outputs, scale=0.1))

    def head(self, x: str, channels: int, classes: int) -> str:
        """Add the mean over space and a Gemm."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", x))
        weight = self.normal(classes, channels, scale=channels**-0.5)
        return self.node("Gemm", flat, weight, self.normal(classes, scale=0.1), transB=1)

    def model(self, y: str, shape: tuple[int, ...]) -> ModelProto:
        """Finish with ``y`` as the output; ``shape`` is that of the input."""
        assert self.nodes[-1].output[0] == y, "the last node makes the output"
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(a), name) for name, a in self.arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def mobilenet_v2(size: int = 224, width: float = 1.0, classes: int = 1000) -> ModelProto:
    """Return MobileNetV2. Source: Sandler et al. 2018, arXiv:1801.04381, table 2."""
    b, rows = Builder(), ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                          (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    channels = _eights(32 * width)
    x = b.relu6(b.conv("x", (3, channels, 3), 2))
    for expand, planned, repeats, stride in rows:
        for index in range(repeats):
            out = _eights(planned * width)
            y, wide, step = x, channels * expand, stride if index == 0 else 1
            if expand > 1:
                y = b.relu6(b.conv(y, (channels, wide, 1)))
            y = b.relu6(b.conv(y, (wide, wide, 3), step, depthwise=True))
            y = b.conv(y, (wide, out, 1))
            x = b.node("Add", x, y) if step == 1 and channels == out else y
            channels = out
    x = b.relu6(b.conv(x, (channels, 1280, 1)))
    return b.model(b.head(x, 1280, classes), (1, 3, size, size))


def _eights(channels: float) -> int:
    return max(8, int(channels + 4) // 8 * 8)


def resnet18(size: int = 224, width: int = 64, classes: int = 1000) -> ModelProto:
    """Return ResNet-18. Source: He et al. 2016, arXiv:1512.03385, table 1."""
    b = Builder()
    x = b.node("Relu", b.conv("x", (3, width, 7), 2))
    x, channels = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), width
    for factor, stride in ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)):
        out = factor * width
        y = b.node("Relu", b.conv(x, (channels, out, 3), stride))
        y = b.conv(y, (out, out, 3))
        if stride != 1:
            x = b.conv(x, (channels, out, 1), stride)
        x, channels = b.node("Relu", b.node("Add", x, y)), out
    return b.model(b.head(x, channels, classes), (1, 3, size, size))


def resnet50(size: int = 224, width: int = 64, classes: int = 1000) -> ModelProto:
    """Return ResNet-50, strides in the 3 x 3 convolutions. Source: as ``resnet18``."""
    b = Builder()
    x = b.node("Relu", b.conv("x", (3, width, 7), 2))
    x, channels = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), width
    for index, repeats in enumerate((3, 4, 6, 3)):
        narrow = width << index
        for block in range(repeats):
            stride = 2 if index and not block else 1
            y = b.node("Relu", b.conv(x, (channels, narrow, 1)))
            y = b.node("Relu", b.conv(y, (narrow, narrow, 3), stride))
            y = b.conv(y, (narrow, 4 * narrow, 1))
            if not block:
                x = b.conv(x, (channels, 4 * narrow, 1), stride)
            x, channels = b.node("Relu", b.node("Add", x, y)), 4 * narrow
    return b.model(b.head(x, channels, classes), (1, 3, size, size))


def ds_cnn(width: int = 64, blocks: int = 4) -> ModelProto:
    """Return a key-word net on 49 x 10 features. Source: Zhang et al. 2017, arXiv:1711.07128."""
    b = Builder()
    x = b.node("Relu", b.conv("x", (1, width, 5), 2))
    for _ in range(blocks):
        x = b.node("Relu", b.conv(x, (width, width, 3), depthwise=True))
        x = b.node("Relu", b.conv(x, (width, width, 1)))
    return b.model(b.head(x, width, 12), (1, 1, 49, 10))


def plain_cnn(size: int = 64, width: int = 16, layers: int = 4) -> ModelProto:
    """Return 3 x 3 convolutions that double their channels and halve the picture, then one more."""
    b, x, channels = Builder(), "x", 3
    for index in range(layers):
        out = min(width << index, 256)
        x, channels = b.node("Relu", b.conv(x, (channels, out, 3), 2)), out
    x = b.node("Relu", b.conv(x, (channels, channels, 3)))
    return b.model(b.head(x, channels, 10), (1, 3, size, size))


def transformer(tokens: int = 64, width: int = 256, blocks: int = 1) -> ModelProto:
    """Return encoder blocks of heads of 32. Source: Vaswani et al. 2017, arXiv:1706.03762."""
    b, x = Builder(), "x"
    for _ in range(blocks):
        y = b.dense(_attention(b, x, width), width, width)
        x = _norm(b, b.node("Add", x, y), width)
        y = b.dense(b.node("Relu", b.dense(x, width, 4 * width)), 4 * width, width)
        x = _norm(b, b.node("Add", x, y), width)
    return b.model(x, (1, tokens, width))


def _attention(b: Builder, x: str, width: int) -> str:
    split = b.constant(np.array([0, 0, width // 32, 32]))
    join = b.constant(np.array([0, 0, width]))
    q, k, v = (
        b.node("Transpose", b.node("Reshape", b.dense(x, width, width), split), perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = b.node("Mul", b.node("MatMul", q, k), b.constant(np.float32(32**-0.5)))
    mixed = b.node("MatMul", b.node("Softmax", scores, axis=-1), v)
    return b.node("Reshape", b.node("Transpose", mixed, perm=[0, 2, 1, 3]), join)


def _norm(b: Builder, x: str, width: int) -> str:
    gain, bias = b.constant(np.ones(width, np.float32)), b.constant(np.zeros(width, np.float32))
    return b.node("LayerNormalization", x, gain, bias, axis=-1)


def lstm(steps: int = 50, units: int = 128, inputs: int = 40) -> ModelProto:
    """Return an LSTM over feature frames and a classifier of the last one."""
    b = Builder()
    weight = b.normal(1, 4 * units, inputs, scale=inputs**-0.5)
    again = b.normal(1, 4 * units, units, scale=units**-0.5)
    bias = b.normal(1, 8 * units, scale=0.1)
    frames = b.node("LSTM", "x", weight, again, bias, hidden_size=units)
    last = b.node("Gather", frames, b.constant(np.int64(steps - 1)), axis=0)
    flat = b.node("Flatten", last)
    weight = b.normal(12, units, scale=units**-0.5)
    return b.model(
        b.node("Gemm", flat, weight, b.normal(12, scale=0.1), transB=1), (steps, 1, inputs)
    )


def keyword_cnn(width: int = 64, blocks: int = 4) -> ModelProto:
    """Return the key-word net of MLPerf Tiny. Source: Banbury et al. 2021, arXiv:2106.07597."""
    b = Builder()
    weight, bias = b.normal(width, 1, 10, 4, scale=(2 / 40) ** 0.5), b.normal(width, scale=0.1)
    x = b.node("Relu", b.node("Conv", "x", weight, bias, pads=[5, 1, 5, 1], strides=[2, 2]))
    for _ in range(blocks):
        x = b.node("Relu", b.conv(x, (width, width, 3), depthwise=True))
        x = b.node("Relu", b.conv(x, (width, width, 1)))
    return b.model(b.head(x, width, 12), (1, 1, 49, 10))


def keyword_lstm(steps: int = 98, units: int = 128, inputs: int = 40) -> ModelProto:
    """Return two LSTMs over ``(1, steps, inputs)`` and a classifier of the last step.

    As torch exports it: the batch comes first, and its gates are put into the order of ONNX
    inside the graph.
    """
    b = Builder()
    x = b.node("Transpose", "x", perm=[1, 0, 2])
    for size in (inputs, units):
        weights = [_gates(b, b.normal(4 * units, k, scale=k**-0.5), units) for k in (size, units)]
        biases = [_gates(b, b.normal(4 * units, scale=0.1), units) for _ in range(2)]
        weight, again = (b.node("Unsqueeze", w, b.constant(np.array([0]))) for w in weights)
        bias = b.node("Unsqueeze", b.node("Concat", *biases, axis=0), b.constant(np.array([0])))
        y = b.node("LSTM", x, weight, again, bias, hidden_size=units)
        x = b.node("Squeeze", y, b.constant(np.array([1])))
    y = b.node("Transpose", x, perm=[1, 0, 2])
    last = b.node("Gather", y, b.constant(np.int64(steps - 1)), axis=1)
    weight = b.normal(12, units, scale=units**-0.5)
    return b.model(
        b.node("Gemm", last, weight, b.normal(12, scale=0.1), transB=1), (1, steps, inputs)
    )


def _gates(b: Builder, value: str, units: int) -> str:
    """Reorder input, forget, cell, output to input, output, forget, cell."""
    parts = [
        b.node("Slice", value, *(b.constant(np.array([n * units])) for n in (gate, gate + 1)))
        for gate in (0, 3, 1, 2)
    ]
    return b.node("Concat", *parts, axis=0)


def mlp(inputs: int = 256, width: int = 512, layers: int = 3, rows: int = 1) -> ModelProto:
    """Return dense layers with Relu between."""
    b, x = Builder(), "x"
    for index in range(layers):
        x = b.node("Relu", b.dense(x, width if index else inputs, width))
    return b.model(b.dense(x, width, 10), (rows, inputs))


SWEPT: Mapping[str, Callable[[], ModelProto]] = {
    "ds_cnn": ds_cnn,
    "plain_cnn-64": plain_cnn,
    "lstm-50x128": lstm,
    "transformer-64x256": transformer,
    "resnet18-96-narrow": lambda: resnet18(96, 16, 10),
    "mobilenet_v2-224": mobilenet_v2,
    "resnet18-224": resnet18,
}
"""What int8 schemes are chosen over."""
