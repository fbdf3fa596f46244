"""Convolutional models of the zoo, one per shape of graph that broke a quantizer once."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from tests.graphs import network
from tests.models import Array, weight

node = helper.make_node


def norm(
    source: str, out: str, channels: int, seed: int = 0
) -> tuple[onnx.NodeProto, dict[str, Array]]:
    """Return a batch norm, named after its output, with weights that are no round numbers."""
    names = [f"{out}.{part}" for part in ("gamma", "beta", "mean", "var")]
    values = [
        1 + weight(channels, seed=seed) / 4,
        weight(channels, seed=seed + 1) / 4,
        weight(channels, seed=seed + 2) / 4,
        1 + np.abs(weight(channels, seed=seed + 3)),
    ]
    made = node("BatchNormalization", [source, *names], [out], name=f"{out}.bn")
    return made, dict(zip(names, values, strict=True))


def residual(opset: int = 18) -> ir.Model:
    """Conv, batch norm, Relu, Conv, residual Add, Relu, GlobalAveragePool, Flatten, Gemm."""
    bn1, own = norm("c1", "n1", 8)
    bn2, more = norm("c2", "n2", 8, seed=9)
    return network(
        [
            node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            bn1,
            node("Relu", ["n1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
            bn2,
            node("Add", ["n2", "r1"], ["a"], name="add"),
            node("Relu", ["a"], ["r2"], name="relu2"),
            node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
            node("Flatten", ["p"], ["f"], name="flatten"),
            node("Gemm", ["f", "wf", "bf"], ["y"], name="gemm", transB=1),
        ],
        {
            "w1": weight(8, 3, 3, 3) / 5,
            "b1": weight(8, seed=3),
            "w2": weight(8, 8, 3, 3, seed=1) / 8,
            "wf": weight(10, 8, seed=6),
            "bf": weight(10, seed=7),
            **own,
            **more,
        },
        opset=opset,
    )


def lite(opset: int = 18) -> ir.Model:
    """Depthwise blocks with Clip at 6, as in EfficientNet-Lite0 and MobileNetV2."""
    bn1, first = norm("c1", "n1", 8)
    bn2, second = norm("c2", "n2", 8, seed=5)
    bn3, third = norm("c3", "n3", 8, seed=11)
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]),
            bn1,
            node("Clip", ["n1", "zero", "six"], ["r1"], name="clip1"),
            node("Conv", ["r1", "w2"], ["c2"], name="depthwise", group=8, pads=[1, 1, 1, 1]),
            bn2,
            node("Clip", ["n2", "zero", "six"], ["r2"], name="clip2"),
            node("Conv", ["r2", "w3"], ["c3"], name="project"),
            bn3,
            node("Add", ["n3", "r1"], ["a"], name="add"),
            node("GlobalAveragePool", ["a"], ["p"], name="pool"),
            node("Flatten", ["p"], ["f"], name="flatten"),
            node("Gemm", ["f", "wf", "bf"], ["y"], name="gemm", transB=1),
        ],
        {
            "w1": weight(8, 3, 3, 3) / 2,
            "w2": weight(8, 1, 3, 3, seed=1),
            "w3": weight(8, 8, 1, 1, seed=2) / 2,
            "wf": weight(10, 8, seed=6),
            "bf": weight(10, seed=7),
            "zero": np.array(0, np.float32),
            "six": np.array(6, np.float32),
            **first,
            **second,
            **third,
        },
        opset=opset,
    )


def conv1d() -> ir.Model:
    return network(
        [
            node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[2, 2]),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2"], ["y"], name="conv2", strides=[2]),
        ],
        {"w1": weight(6, 5, 5) / 4, "b1": weight(6), "w2": weight(7, 6, 3, seed=1) / 4},
        shape=["batch", 5, 32],
    )


def grouped() -> ir.Model:
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1", group=3),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2", "b2"], ["y"], name="conv2", group=2),
        ],
        {"w1": weight(6, 2, 3, 3) / 4, "w2": weight(4, 3, 3, 3, seed=1) / 4, "b2": weight(4)},
        shape=["batch", 6, 10, 10],
    )


def one_channel() -> ir.Model:
    """One input channel into eight, then into one, then one into one."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2"], ["c2"], name="conv2"),
            node("Conv", ["c2", "w3"], ["y"], name="conv3"),
        ],
        {
            "w1": weight(8, 1, 3, 3),
            "w2": weight(1, 8, 3, 3, seed=1) / 6,
            "w3": weight(1, 1, 5, 5, seed=2) / 3,
        },
        shape=["batch", 1, 14, 14],
    )


def conv_end() -> ir.Model:
    """A convolution, its batch norm, and nothing after."""
    bn, own = norm("c", "y", 5)
    return network(
        [node("Conv", ["x", "w"], ["c"], name="conv"), bn],
        {"w": weight(5, 3, 3, 3) / 4, **own},
        outputs={"y": ["batch", 5, 10, 10]},
    )


def relu_output() -> ir.Model:
    """The Relu that a second convolution reads is itself an output."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            node("Relu", ["c1"], ["r"], name="relu"),
            node("Conv", ["r", "w2"], ["y"], name="conv2"),
        ],
        {"w1": weight(6, 3, 3, 3) / 4, "w2": weight(4, 6, 3, 3, seed=1) / 6},
        outputs=["r", "y"],
    )


def two_outputs() -> ir.Model:
    """One output is a tensor in the middle, before its Relu."""
    return network(
        [
            node("Conv", ["x", "w1"], ["inner"], name="conv1"),
            node("Relu", ["inner"], ["r"], name="relu"),
            node("Conv", ["r", "w2"], ["c2"], name="conv2"),
            node("Sigmoid", ["c2"], ["y"], name="sigmoid"),
        ],
        {"w1": weight(6, 3, 3, 3) / 4, "w2": weight(4, 6, 3, 3, seed=1) / 6},
        outputs=["inner", "y"],
    )


def branches() -> ir.Model:
    """Two convolutions of one tensor, MaxPool and Concat, then Flatten, Reshape and Gemm."""
    return network(
        [
            node("Conv", ["x", "w0"], ["c0"], name="conv0", pads=[1, 1, 1, 1]),
            node("Relu", ["c0"], ["r0"], name="relu0"),
            node("Conv", ["r0", "w1"], ["c1"], name="left", pads=[1, 1, 1, 1]),
            node("Conv", ["r0", "w2"], ["c2"], name="right", pads=[1, 1, 1, 1]),
            node("Concat", ["c1", "c2"], ["j"], name="concat", axis=1),
            node("MaxPool", ["j"], ["m"], name="maxpool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["m", "w3"], ["c3"], name="conv3"),
            node("Flatten", ["c3"], ["f"], name="flatten"),
            node("Reshape", ["f", "shape"], ["s"], name="reshape"),
            node("Gemm", ["s", "wf"], ["y"], name="gemm"),
        ],
        {
            "w0": weight(4, 3, 3, 3) / 4,
            "w1": weight(4, 4, 3, 3, seed=1) / 5,
            "w2": weight(3, 4, 3, 3, seed=2) / 3,
            "w3": weight(2, 7, 3, 3, seed=3) / 6,
            "shape": np.array([-1, 16], np.int64),
            "wf": weight(16, 5, seed=4),
        },
        shape=["batch", 3, 8, 8],
        outputs={"y": ["rows", 5]},
    )


def mixed_readers() -> ir.Model:
    """One tensor is read by a convolution and by a node that stays in float."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
            node("Sigmoid", ["r1"], ["gate"], name="gate"),
            node("Mul", ["c2", "gate"], ["y"], name="mul"),
        ],
        {"w1": weight(6, 3, 3, 3) / 4, "w2": weight(6, 6, 3, 3, seed=1) / 6},
    )


def pad_conv() -> ir.Model:
    return network(
        [
            node("Pad", ["x", "amounts"], ["p"], name="pad"),
            node("Conv", ["p", "w1"], ["c1"], name="conv1", strides=[2, 2], pads=[0, 1, 1, 0]),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("Conv", ["r1", "w2"], ["y"], name="conv2"),
        ],
        {
            "amounts": np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64),
            "w1": weight(6, 3, 3, 3) / 4,
            "w2": weight(4, 6, 3, 3, seed=1) / 6,
        },
    )


def spatial_mean(*, keepdims: int, opset: int = 18) -> ir.Model:
    mean = (
        node("ReduceMean", ["r", "axes"], ["m"], name="mean", keepdims=keepdims)
        if opset >= 18
        else node("ReduceMean", ["r"], ["m"], name="mean", keepdims=keepdims, axes=[2, 3])
    )
    tail = [node("Flatten", ["m"], ["f"], name="flatten")] if keepdims else []
    return network(
        [
            node("Conv", ["x", "w1"], ["c"], name="conv"),
            node("Relu", ["c"], ["r"], name="relu"),
            mean,
            *tail,
            node("MatMul", ["f" if keepdims else "m", "w2"], ["y"], name="matmul"),
        ],
        {
            "w1": weight(8, 3, 3, 3) / 4,
            "w2": weight(8, 5, seed=1),
            **({"axes": np.array([-1, 2], np.int64)} if opset >= 18 else {}),
        },
        opset=opset,
    )


def conv_transpose() -> ir.Model:
    return network(
        [
            node("Conv", ["x", "w1"], ["c"], name="conv", strides=[2, 2]),
            node("Relu", ["c"], ["r"], name="relu"),
            node("ConvTranspose", ["r", "w2"], ["y"], name="deconv", strides=[2, 2]),
        ],
        {"w1": weight(6, 3, 3, 3) / 4, "w2": weight(6, 2, 3, 3, seed=1) / 4},
    )


def wide_names() -> ir.Model:
    """Tensors and weights already bear the names that a pass would like to give."""
    return network(
        [
            node("Conv", ["x", "x.scale"], ["conv1"], name="conv1", pads=[1, 1, 1, 1]),
            node("Relu", ["conv1"], ["conv1.q"], name="conv1.q"),
            node("Sigmoid", ["conv1.q"], ["conv1.q.scale"], name="x.half"),
            node("Conv", ["conv1.q", "w2"], ["conv1.q.dq"], name="conv2"),
            node("Neg", ["conv1.q.scale"], ["conv2.weight"], name="x.q"),
            node("Exp", ["conv2.weight"], ["conv1.q.half"], name="x.dq"),
        ],
        {"x.scale": weight(6, 3, 3, 3) / 4, "w2": weight(4, 6, 3, 3, seed=1) / 6},
        outputs=["conv1.q.dq", "conv1.q.half"],
    )


def offset_clip() -> ir.Model:
    """Clip to [1, 6]: a range widened to hold 0 would let values below 1 pass."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            node("Clip", ["c1", "low", "high"], ["r"], name="clip"),
            node("Conv", ["r", "w2"], ["y"], name="conv2"),
        ],
        {
            "w1": weight(6, 3, 3, 3) / 4,
            "w2": weight(4, 6, 3, 3, seed=1) / 6,
            "low": np.array(1, np.float32),
            "high": np.array(6, np.float32),
        },
    )


def moved_and_read() -> ir.Model:
    """What moved values is read by integers, by a float node and by the caller."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("MaxPool", ["r1"], ["m"], name="maxpool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["m", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
            node("Sigmoid", ["m"], ["gate"], name="gate"),
            node("Mul", ["c2", "gate"], ["y"], name="mul"),
        ],
        {"w1": weight(6, 3, 3, 3) / 4, "w2": weight(6, 6, 3, 3, seed=1) / 6},
        outputs=["y", "m"],
    )


def carriers() -> ir.Model:
    """What moves values without changing them, between integer nodes."""
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            node("DepthToSpace", ["c1"], ["d"], name="shuffle", blocksize=2),
            node("Transpose", ["d"], ["t"], name="transpose", perm=[0, 1, 3, 2]),
            node("AveragePool", ["t"], ["a"], name="average", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["a", "w2"], ["c2"], name="conv2", auto_pad="SAME_UPPER", strides=[2, 2]),
            node("Relu", ["c2"], ["r"], name="relu"),
            node("Unsqueeze", ["r", "zero"], ["u"], name="unsqueeze"),
            node("Squeeze", ["u", "zero"], ["s"], name="squeeze"),
            node("Conv", ["s", "w3", "b3"], ["y"], name="conv3", dilations=[2, 2]),
        ],
        {
            "w1": weight(8, 3, 3, 3) / 4,
            "w2": weight(4, 2, 3, 3, seed=1) / 3,
            "w3": weight(4, 4, 2, 2, seed=2) / 3,
            "b3": weight(4, seed=3),
            "zero": np.array([0], np.int64),
        },
    )


def input_read_twice() -> ir.Model:
    return network(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            node("Conv", ["x", "w2"], ["c2"], name="conv2"),
            node("Add", ["c1", "c2"], ["a"], name="add"),
            node("ReduceMax", ["x"], ["top"], name="top", keepdims=0),
            node("Mul", ["a", "top"], ["y"], name="mul"),
        ],
        {"w1": weight(4, 3, 3, 3) / 4, "w2": weight(4, 3, 3, 3, seed=1) / 4},
    )
