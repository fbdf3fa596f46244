"""The zoo that passes are held to: one tiny model per shape of graph that broke a quantizer once.

Every model is read the way the build reads it, so shapes are inferred and nodes have names.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes import Context
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from edgepack.spec.target import Int8, Target
from tests.models import Array, proto, value, weight

node = helper.make_node
Outputs = dict[str, npt.NDArray[np.generic]]

SCHEMES = {
    "u8s8-pair": Int8(activations="uint8", saturating=True),
    "u8s8": Int8(activations="uint8"),
    "s8s8": Int8(activations="int8"),
    "s8s8-symmetric": Int8(activations="int8", symmetric=True, bias="float32"),
}
"""What x86_64, arm64, arm64-dotprod and tensorrt ask for."""


def target(int8: Int8 | None = None, *, float16: bool = True) -> Target:
    return Target(
        name="made-up",
        origin="project",
        summary="a target of the tests",
        arch="x86_64",
        sources=(),
        providers=("CPUExecutionProvider",),
        min_runtime="1.20",
        max_opset=21,
        max_ir=10,
        int8=int8,
        float16=float16,
    )


def read(model: onnx.ModelProto) -> ir.Model:
    return parse(model.SerializeToString(), "the test model").model


def samples(model: ir.Model, count: int = 6, seed: int = 0) -> list[Sample]:
    """Return standard normal samples; a symbolic dimension is 2, integers are below 4."""
    rng = np.random.default_rng(seed)

    def one(dtype: str, shape: Sequence[int | str | None]) -> npt.NDArray[np.generic]:
        sizes = [dim if isinstance(dim, int) else 2 for dim in shape]
        if dtype.startswith("float"):
            return rng.standard_normal(sizes).astype(dtype)
        return rng.integers(0, 2 if dtype == "bool" else 4, sizes).astype(dtype)

    inputs = signature(model).inputs
    return [{spec.name: one(spec.dtype, spec.shape) for spec in inputs} for _ in range(count)]


def items(listed: Sequence[Sample]) -> list[Item]:
    return [Item((sample,), (), group) for group, sample in enumerate(listed)]


def context(int8: Int8 | None, calibration: Sequence[Sample], *, float16: bool = True) -> Context:
    """Return what a pass may know, measuring on ``calibration``."""

    def measure(model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, Statistics]:
        return collect(model, tensors, items(calibration), signature(model))

    return Context(target(int8, float16=float16), measure)


def run(model: ir.Model, listed: Sequence[Sample], options: Options | None = None) -> list[Outputs]:
    session = Session(to_bytes(model), options)
    return [session.run(sample) for sample in listed]


def sqnr(want: Sequence[Outputs], got: Sequence[Outputs], name: str) -> float:
    """Return signal over noise of one output in dB, over all samples together."""
    signal = np.concatenate([run[name].astype(np.float64).ravel() for run in want])
    noise = np.concatenate([run[name].astype(np.float64).ravel() for run in got]) - signal
    power = float(np.square(noise).sum())
    return float("inf") if power == 0 else float(10 * np.log10(np.square(signal).sum() / power))


def operators(model: ir.Model) -> list[str]:
    return [each.op_type for each in model.graph]


def network(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    *,
    shape: Sequence[int | str] = ("batch", 3, 12, 12),
    outputs: Mapping[str, Sequence[int | str] | None] | Sequence[str] = ("y",),
    opset: int = 18,
) -> ir.Model:
    """Read a model whose one input is ``x``."""
    ends = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs)
    return read(
        proto(
            nodes,
            dict(weights),
            inputs=[value("x", shape)],
            outputs=[value(name, end) for name, end in ends.items()],
            opset=opset,
        )
    )


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


def linear(opset: int = 18) -> ir.Model:
    return network(
        [node("MatMul", ["x", "w"], ["y"], name="matmul")],
        {"w": weight(33, 16)},
        shape=["batch", 33],
        opset=opset,
    )


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


def gemms(*, transposed: bool, bias: bool) -> ir.Model:
    """Two Gemm with a Relu between."""
    extra = ("b1",) if bias else ()
    last = ("b2",) if bias else ()
    w1, w2 = weight(21, 16) / 4, weight(16, 9, seed=1) / 4
    flag = int(transposed)
    return network(
        [
            node("Gemm", ["x", "w1", *extra], ["g"], name="gemm1", transB=flag),
            node("Relu", ["g"], ["r"], name="relu"),
            node("Gemm", ["r", "w2", *last], ["y"], name="gemm2", transB=flag),
        ],
        {
            "w1": w1.T.copy() if transposed else w1,
            "w2": w2.T.copy() if transposed else w2,
            **({"b1": weight(16, seed=3), "b2": weight(1, 9, seed=4)} if bias else {}),
        },
        shape=["batch", 21],
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


def transformer() -> ir.Model:
    """One block: attention with a mask of -10000, layer norms, a feed-forward pair."""
    size = 16
    parts = {name: weight(size, size, seed=i) / 4 for i, name in enumerate(("q", "k", "v", "o"))}
    projections = [
        step
        for name in ("q", "k", "v")
        for step in (
            node("MatMul", ["x", name], [f"{name}m"], name=f"{name}_matmul"),
            node("Add", [f"{name}m", "bias"], [f"{name}b"], name=f"{name}_bias"),
        )
    ]
    return network(
        [
            *projections,
            node("Transpose", ["kb"], ["kt"], name="transpose", perm=[0, 2, 1]),
            node("MatMul", ["qb", "kt"], ["s"], name="scores"),
            node("Add", ["s", "mask"], ["sm"], name="masked"),
            node("Softmax", ["sm"], ["p"], name="softmax", axis=-1),
            node("MatMul", ["p", "vb"], ["c"], name="mix"),
            node("MatMul", ["c", "o"], ["om"], name="o_matmul"),
            node("Add", ["om", "x"], ["r1"], name="residual1"),
            node("LayerNormalization", ["r1", "gain", "bias"], ["l1"], name="norm1", axis=-1),
            node("MatMul", ["l1", "up"], ["u"], name="up_matmul"),
            node("Relu", ["u"], ["ur"], name="relu"),
            node("MatMul", ["ur", "down"], ["d"], name="down_matmul"),
            node("Add", ["d", "l1"], ["r2"], name="residual2"),
            node("LayerNormalization", ["r2", "gain", "bias"], ["y"], name="norm2", axis=-1),
        ],
        {
            **parts,
            "bias": weight(size, seed=7) / 4,
            "gain": 1 + weight(size, seed=8) / 8,
            "mask": np.array([0, 0, 0, 0, 0, -10000, -10000], np.float32),
            "up": weight(size, 32, seed=9) / 4,
            "down": weight(32, size, seed=10) / 6,
        },
        shape=["batch", 7, size],
    )


def lstm() -> ir.Model:
    """An LSTM whose weight reaches it through Slice and Concat, as torch's exporter leaves it.

    The weight has 10,240 entries: more than what a constant folder takes by default.
    """
    size = 64
    gates = weight(1, 4 * size, 40, seed=1) / 8
    return network(
        [
            node("Slice", ["wi", "s0", "s1", "one"], ["first"], name="slice1"),
            node("Slice", ["wi", "s1", "s2", "one"], ["second"], name="slice2"),
            node("Concat", ["second", "first"], ["w"], name="concat", axis=1),
            node("LSTM", ["x", "w", "r"], ["h", "", "c"], name="lstm", hidden_size=size),
            node("Squeeze", ["h", "one"], ["hs"], name="squeeze"),
            node("MatMul", ["hs", "wf"], ["y"], name="matmul"),
        ],
        {
            "wi": gates,
            "s0": np.array([0], np.int64),
            "s1": np.array([2 * size], np.int64),
            "s2": np.array([4 * size], np.int64),
            "one": np.array([1], np.int64),
            "r": weight(1, 4 * size, size, seed=2) / 8,
            "wf": weight(size, 5, seed=3) / 4,
        },
        shape=[6, "batch", 40],
        outputs=["y", "c"],
    )


def recurrent() -> ir.Model:
    """An LSTM in both directions with bias and first state, and a GRU after it."""
    return network(
        [
            node(
                "LSTM",
                ["x", "w", "r", "b", "", "h0", "c0"],
                ["h", "last"],
                name="lstm",
                hidden_size=8,
                direction="bidirectional",
            ),
            node("Transpose", ["h"], ["t"], name="transpose", perm=[0, 2, 1, 3]),
            node("Reshape", ["t", "shape"], ["f"], name="reshape"),
            node("GRU", ["f", "gw", "gr"], ["y"], name="gru", hidden_size=8),
        ],
        {
            "w": weight(2, 32, 5, seed=1) / 2,
            "r": weight(2, 32, 8, seed=2) / 3,
            "b": weight(2, 64, seed=3) / 4,
            "h0": weight(2, 2, 8, seed=4) / 4,
            "c0": weight(2, 2, 8, seed=5) / 4,
            "shape": np.array([6, 2, 16], np.int64),
            "gw": weight(1, 24, 16, seed=6) / 4,
            "gr": weight(1, 24, 8, seed=7) / 3,
        },
        shape=[6, 2, 5],
        outputs=["y", "last"],
    )


def embedding() -> ir.Model:
    """Two look-ups in one table, one in another, and a table that an Add reads too."""
    return network(
        [
            node("Cast", ["x"], ["ids"], name="cast", to=TensorProto.INT64),
            node("Gather", ["words", "ids"], ["a"], name="words1"),
            node("Abs", ["ids"], ["place"], name="abs"),
            node("Gather", ["words", "place"], ["b"], name="words2"),
            node("Gather", ["kinds", "ids"], ["c"], name="kinds"),
            node("Gather", ["both", "ids"], ["d"], name="both"),
            node("Sum", ["a", "b", "c", "d"], ["s"], name="sum"),
            node("MatMul", ["s", "w"], ["m"], name="matmul"),
            node("Add", ["m", "both"], ["y"], name="add"),
        ],
        {
            "words": weight(32, 16) * np.linspace(0.01, 4, 32, dtype=np.float32)[:, None],
            "kinds": weight(9, 16, seed=1),
            "both": weight(8, 16, seed=2),
            "w": weight(16, 16, seed=3) / 4,
        },
        shape=[8, 8],
        outputs={"y": None},
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


def shared_weight() -> ir.Model:
    """One weight in two MatMul and, once, in an Add."""
    return network(
        [
            node("MatMul", ["x", "w"], ["a"], name="matmul1"),
            node("Relu", ["a"], ["r"], name="relu"),
            node("MatMul", ["r", "w"], ["b"], name="matmul2"),
            node("Add", ["b", "w"], ["y"], name="add"),
        ],
        {"w": weight(16, 16) / 4},
        shape=[16, 16],
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


def conditional() -> ir.Model:
    """An If whose branches read tensors and a weight of the graph around it."""
    then = helper.make_graph(
        [node("Add", ["h", "w"], ["t"], name="then_add")], "then", [], [value("t", None)]
    )
    other = helper.make_graph(
        [node("Sub", ["h", "h"], ["e"], name="else_sub")], "other", [], [value("e", None)]
    )
    return network(
        [
            node("MatMul", ["x", "w"], ["m"], name="matmul"),
            node("Relu", ["m"], ["h"], name="relu"),
            node("ReduceSum", ["x"], ["total"], name="sum", keepdims=0),
            node("Greater", ["total", "zero"], ["flag"], name="greater"),
            node("If", ["flag"], ["i"], name="if", then_branch=then, else_branch=other),
            node("Mul", ["i", "h"], ["y"], name="mul"),
        ],
        {"w": weight(8, 8) / 2, "zero": np.array(0, np.float32)},
        shape=[8, 8],
    )


def products() -> ir.Model:
    """Matrix products and the vectors added to them, as a Dense layer leaves Keras."""
    return network(
        [
            node("MatMul", ["x", "w1"], ["m1"], name="matmul1"),
            node("Add", ["m1", "b1"], ["a1"], name="add1"),
            node("Relu", ["a1"], ["r"], name="relu"),
            node("MatMul", ["r", "w2"], ["m2"], name="matmul2"),
            node("Add", ["b2", "m2"], ["y"], name="add2"),
        ],
        {
            "w1": weight(32, 24) / 4,
            "b1": weight(24, seed=1),
            "w2": weight(24, 10, seed=2) / 4,
            "b2": weight(1, 10, seed=3),
        },
        shape=["batch", 32],
    )


def nothing() -> ir.Model:
    """No weight at all."""
    return network([node("Sin", ["x"], ["y"], name="sin")], {}, shape=["batch", 4])


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


ZOO: dict[str, Callable[[], ir.Model]] = {
    "linear": linear,
    "linear_13": lambda: linear(13),
    "linear_21": lambda: linear(21),
    "residual": residual,
    "residual_13": lambda: residual(13),
    "residual_21": lambda: residual(21),
    "lite": lite,
    "lite_13": lambda: lite(13),
    "conv1d": conv1d,
    "grouped": grouped,
    "one_channel": one_channel,
    "gemm": lambda: gemms(transposed=False, bias=False),
    "gemm_bias": lambda: gemms(transposed=False, bias=True),
    "gemm_transposed": lambda: gemms(transposed=True, bias=False),
    "gemm_transposed_bias": lambda: gemms(transposed=True, bias=True),
    "conv_end": conv_end,
    "relu_output": relu_output,
    "two_outputs": two_outputs,
    "branches": branches,
    "mixed_readers": mixed_readers,
    "pad_conv": pad_conv,
    "mean": lambda: spatial_mean(keepdims=0),
    "mean_kept": lambda: spatial_mean(keepdims=1),
    "mean_13": lambda: spatial_mean(keepdims=0, opset=13),
    "transformer": transformer,
    "lstm": lstm,
    "recurrent": recurrent,
    "embedding": embedding,
    "conv_transpose": conv_transpose,
    "shared_weight": shared_weight,
    "wide_names": wide_names,
    "offset_clip": offset_clip,
    "carriers": carriers,
    "conditional": conditional,
    "nothing": nothing,
    "input_read_twice": input_read_twice,
    "products": products,
}
"""Name -> builder of every model that every pass is held to."""
