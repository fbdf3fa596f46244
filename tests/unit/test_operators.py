from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from edgepack.training.operators import OPERATORS
from edgepack.training.twin import compare, float_twin
from tests import graphs
from tests.models import Array, weight

IMAGE = (2, 4, 7, 6)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


def number(value: float) -> Array:
    return np.array(value, np.float32)


def near_one(count: int) -> Array:
    return np.abs(weight(count)) + np.float32(0.5)


Case = tuple[str, dict[str, Any], Sequence[Array]]
PLAIN: list[Case] = [
    (op, {}, [])
    for op in (
        *("Abs", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Neg"),
        *("Relu", "Sigmoid", "Tanh", "Identity", "Elu", "LeakyRelu"),
    )
]
JOINS: list[Case] = [(op, {}, [weight(6)]) for op in ("Add", "Mul", "Sub", "Max", "Min")]
CASES: list[Case] = [
    ("Conv", {"pads": [1, 0, 1, 2], "strides": [2, 1]}, [weight(6, 4, 3, 3), weight(6)]),
    ("Conv", {"pads": [1, 1, 1, 1], "group": 4, "dilations": [1, 2]}, [weight(4, 1, 3, 3)]),
    ("MatMul", {}, [weight(6, 5)]),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 1, 1, 0]}, []),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, []),
    (
        "AveragePool",
        {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1},
        [],
    ),
    ("GlobalAveragePool", {}, []),
    ("BatchNormalization", {"epsilon": 0.01}, [weight(4), weight(4), weight(4), near_one(4)]),
    ("LayerNormalization", {"axis": -2}, [weight(7, 6), weight(7, 6)]),
    ("Reshape", {}, [integers(0, -1, 3)]),
    ("Flatten", {"axis": -2}, []),
    ("Flatten", {}, []),
    ("Unsqueeze", {}, [integers(-1, 0)]),
    ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Transpose", {}, []),
    ("Gather", {"axis": 1}, [np.array([[3, -1], [0, 2]], np.int64)]),
    ("Slice", {}, [integers(1, -4), integers(1000, -1), integers(1, -1), integers(2, 1)]),
    ("Pad", {}, [integers(0, 0, 1, 2, 0, 0, 0, 3), number(1.5)]),
    ("Pad", {}, [integers(1, 2), number(0), integers(-1)]),
    ("ReduceMean", {"keepdims": 0}, [integers(2, 3)]),
    ("ReduceMax", {}, [integers(-1)]),
    ("ReduceSum", {}, []),
    ("DepthToSpace", {"blocksize": 2}, []),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, []),
    ("Softmax", {"axis": 1}, []),
    ("LogSoftmax", {}, []),
    ("Concat", {"axis": 1}, [weight(2, 1, 7, 6)]),
    ("Clip", {}, [number(-0.5), number(0.25)]),
    ("Pow", {}, [number(2)]),
    ("Div", {}, [near_one(6)]),
    ("Gelu", {"approximate": "tanh"}, []),
    *PLAIN,
    *JOINS,
]


@pytest.mark.parametrize(("op", "attributes", "constants"), CASES)
def test_an_operator_computes_what_the_runtime_computes(
    op: str, attributes: dict[str, Any], constants: Sequence[Array]
) -> None:
    names = [f"c{index}" for index in range(len(constants))]
    nodes = [helper.make_node(op, ["x", *names], ["y"], name="it", **attributes)]
    model = graphs.network(nodes, dict(zip(names, constants, strict=True)), shape=IMAGE, opset=20)
    (sample,) = graphs.samples(model, 1)
    inputs = {"x": torch.from_numpy(np.asarray(sample["x"]))}
    (want,) = graphs.run(model, [sample])
    with torch.no_grad():
        found = float_twin(model)(inputs)["y"].numpy()
    assert found.shape == want["y"].shape
    np.testing.assert_allclose(
        found, want["y"].astype(np.float64), rtol=1e-4, atol=1e-5
    )  # float32, other orders
    compare(model, inputs)


@pytest.mark.parametrize(("transposed", "scaled"), [(0, 1.0), (1, 1.0), (1, 0.5)])
def test_gemm_computes_what_the_runtime_computes(transposed: int, scaled: float) -> None:
    shape = (5, 6) if transposed else (6, 5)
    gemm = helper.make_node(
        "Gemm", ["x", "w", "b"], ["y"], name="g", transB=transposed, alpha=scaled, beta=scaled
    )
    model = graphs.network([gemm], {"w": weight(*shape), "b": weight(5)}, shape=(3, 6))
    (sample,) = graphs.samples(model, 1)
    (want,) = graphs.run(model, [sample])
    with torch.no_grad():
        found = float_twin(model)({"x": torch.from_numpy(np.asarray(sample["x"]))})["y"]
    np.testing.assert_allclose(found.numpy(), want["y"].astype(np.float64), rtol=1e-4, atol=1e-5)


def test_a_shape_that_is_computed_from_the_batch_follows_it() -> None:
    node = helper.make_node
    model = graphs.network(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "zeros"], ["m"]),
            node("Concat", ["m", "rest"], ["to"], axis=0),
            node("Reshape", ["x", "to"], ["y"]),
        ],
        {"zero": np.array(0, np.int64), "zeros": integers(0), "rest": integers(-1)},
    )
    with torch.no_grad():
        found = float_twin(model)({"x": torch.zeros(5, 3, 12, 12)})
    assert found["y"].shape == (5, 432)


def test_most_operators_that_networks_are_made_of_are_there() -> None:
    tried = {op for op, _, _ in CASES} | {"Gemm", "Shape"}
    rare = {"Cast", "Dropout", "Reciprocal", "Sqrt", "Squeeze", "Where"}
    assert set(OPERATORS) - tried == rare
