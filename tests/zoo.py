"""The zoo that every pass is held to: the convolutional models and the others.

Every model is read the way the build reads it, so shapes are inferred and nodes have names.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from tests import convolutions as conv
from tests.graphs import network
from tests.models import value, weight

node = helper.make_node


def linear(opset: int = 18) -> ir.Model:
    return network(
        [node("MatMul", ["x", "w"], ["y"], name="matmul")],
        {"w": weight(33, 16)},
        shape=["batch", 33],
        opset=opset,
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


def stacked(rows: int | str) -> ir.Model:
    """Linear layers on a stack of matrices, as torch writes them: two read one input."""
    size, wide = 16, 24
    return network(
        [
            node("MatMul", ["x", "up"], ["um"], name="up_matmul"),
            node("Add", ["up_bias", "um"], ["u"], name="up_add"),
            node("Relu", ["u"], ["ur"], name="relu"),
            node("MatMul", ["ur", "down"], ["dm"], name="down_matmul"),
            node("Add", ["dm", "down_bias"], ["d"], name="down_add"),
            node("MatMul", ["x", "side"], ["sm"], name="side_matmul"),
            node("Add", ["sm", "side_bias"], ["s"], name="side_add"),
            node("Sigmoid", ["s"], ["gate"], name="sigmoid"),
            node("Mul", ["gate", "d"], ["y"], name="gated"),
        ],
        {
            "up": weight(size, wide, seed=1) / 4,
            "up_bias": weight(wide, seed=2),
            "down": weight(wide, size, seed=3) / 5,
            "down_bias": weight(1, 1, size, seed=4),
            "side": weight(size, size, seed=5) / 4,
            "side_bias": weight(size, seed=6),
        },
        shape=[rows, 7, size],
    )


def attention(opset: int = 18, tokens: int | str = 5) -> ir.Model:
    """Two heads, as torch writes them: minus infinity as mask, and a guard for rows all masked."""
    size, batch = 16, "batch"
    parts = {name: weight(size, size, seed=i) / 4 for i, name in enumerate(("q", "k", "v", "o"))}
    heads = [
        step
        for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
        for step in (
            node("MatMul", ["x", name], [f"{name}m"], name=f"{name}_matmul"),
            node("Add", [f"{name}m", "bias"], [f"{name}b"], name=f"{name}_bias"),
            node("Reshape", [f"{name}b", "split"], [f"{name}r"], name=f"{name}_split"),
            node("Transpose", [f"{name}r"], [f"{name}t"], name=f"{name}_heads", perm=perm),
        )
    ]
    return network(
        [
            *heads,
            node("Gather", ["x", "first"], ["one"], name="gather", axis=2),
            node("Greater", ["one", "least"], ["kept"], name="greater"),
            node("Where", ["kept", "zero", "away"], ["flat"], name="where"),
            node("Unsqueeze", ["flat", "axes"], ["mask"], name="unsqueeze"),
            node("Mul", ["qt", "root"], ["qs"], name="q_scale"),
            node("Mul", ["kt", "root"], ["ks"], name="k_scale"),
            node("MatMul", ["qs", "ks"], ["s"], name="scores"),
            node("Add", ["s", "mask"], ["sm"], name="masked"),
            node("Softmax", ["sm"], ["p"], name="softmax", axis=-1),
            node("IsNaN", ["p"], ["bad"], name="isnan"),
            node("Where", ["bad", "zero", "p"], ["g"], name="guard"),
            node("MatMul", ["g", "vt"], ["c"], name="mix"),
            node("Transpose", ["c"], ["ct"], name="together", perm=[0, 2, 1, 3]),
            node("Reshape", ["ct", "joined"], ["cj"], name="join"),
            node("MatMul", ["cj", "o"], ["om"], name="o_matmul"),
            node("Add", ["om", "x"], ["r"], name="residual"),
            node("LayerNormalization", ["r", "gain", "bias"], ["y"], name="norm", axis=-1),
        ],
        {
            **parts,
            "bias": weight(size, seed=7) / 4,
            "gain": 1 + weight(size, seed=8) / 8,
            "split": np.array([0, 0, 2, size // 2], np.int64),
            "joined": np.array([0, 0, size], np.int64),
            "first": np.array(0, np.int64),
            "least": np.array(0.8, np.float32),
            "zero": np.array(0, np.float32),
            "away": np.array(-np.inf, np.float32),
            "axes": np.array([1, 2], np.int64),
            "root": np.array([(size // 2) ** -0.25], np.float32),
        },
        shape=[batch, tokens, size],
        opset=opset,
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


def dead(*, one_branch: bool = False, bias: float = 0) -> ir.Model:
    """Return a residual block with a depthwise Conv and a gate; channels 1 and 4 are dead."""
    cut = [1] if one_branch else [1, 4]
    w0, w1 = weight(6, 3, 3, 3), weight(6, 6, 1, 1, seed=1)
    w0[[1, 4]], w1[cut] = 0, 0
    depth, added = weight(6, 1, 3, 3, seed=2), np.zeros(6, np.float32)
    added[4] = bias
    return network(
        [
            node("Conv", ["x", "w0"], ["a"], name="first"),
            node("Conv", ["a", "depth", "added"], ["b"], group=6, pads=[1] * 4, name="depth"),
            node("GlobalAveragePool", ["b"], ["m"], name="pool"),
            node("Sigmoid", ["m"], ["gate"], name="sigmoid"),
            node("Mul", ["b", "gate"], ["c"], name="mul"),
            node("Conv", ["c", "w1"], ["d"], name="point"),
            node("Add", ["a", "d"], ["e"], name="add"),
            node("Relu", ["e"], ["f"], name="relu"),
            node("Conv", ["f", "w2"], ["y"], name="last"),
        ],
        {"w0": w0, "depth": depth, "added": added, "w1": w1, "w2": weight(4, 6, 1, 1, seed=3)},
    )


def nothing() -> ir.Model:
    """No weight at all."""
    return network([node("Sin", ["x"], ["y"], name="sin")], {}, shape=["batch", 4])


ZOO: dict[str, Callable[[], ir.Model]] = {
    "linear": linear,
    "linear_13": lambda: linear(13),
    "linear_21": lambda: linear(21),
    "residual": conv.residual,
    "residual_13": lambda: conv.residual(13),
    "residual_21": lambda: conv.residual(21),
    "lite": conv.lite,
    "lite_13": lambda: conv.lite(13),
    "conv1d": conv.conv1d,
    "grouped": conv.grouped,
    "one_channel": conv.one_channel,
    "gemm": lambda: gemms(transposed=False, bias=False),
    "gemm_bias": lambda: gemms(transposed=False, bias=True),
    "gemm_transposed": lambda: gemms(transposed=True, bias=False),
    "gemm_transposed_bias": lambda: gemms(transposed=True, bias=True),
    "conv_end": conv.conv_end,
    "relu_output": conv.relu_output,
    "two_outputs": conv.two_outputs,
    "branches": conv.branches,
    "mixed_readers": conv.mixed_readers,
    "moved_and_read": conv.moved_and_read,
    "pad_conv": conv.pad_conv,
    "mean": lambda: conv.spatial_mean(keepdims=0),
    "mean_kept": lambda: conv.spatial_mean(keepdims=1),
    "mean_13": lambda: conv.spatial_mean(keepdims=0, opset=13),
    "transformer": transformer,
    "stacked": lambda: stacked(1),
    "stacked_open": lambda: stacked("batch"),
    "attention": lambda: attention(17),
    "attention_open": lambda: attention(tokens="tokens"),
    "lstm": lstm,
    "recurrent": recurrent,
    "embedding": embedding,
    "conv_transpose": conv.conv_transpose,
    "shared_weight": shared_weight,
    "wide_names": conv.wide_names,
    "offset_clip": conv.offset_clip,
    "carriers": conv.carriers,
    "conditional": conditional,
    "nothing": nothing,
    "input_read_twice": conv.input_read_twice,
    "products": products,
    "dead": dead,
}
"""Name -> builder of every model that every pass is held to."""
