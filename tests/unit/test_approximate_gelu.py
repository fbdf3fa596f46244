"""GELU by tanh: every spelling is found, values stay near, and only beside integers."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgepack.graph.census import signature
from edgepack.graph.gelu import find
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes import PassReport, apply
from edgepack.passes.approximate_gelu import FARTHEST, ApproximateGelu
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.spec.step import Skip
from edgepack.spec.target import load
from tests import graphs
from tests.models import weight

node = graphs.node
SIZE = 32
SCALARS = {
    name: np.array(number, np.float32)
    for name, number in (("root", 2**0.5), ("inverse", 0.5**0.5), ("one", 1), ("half", 0.5))
}
ERF = [
    node("Div", ["h", "root"], ["a"], name="div"),
    node("Erf", ["a"], ["e"], name="erf"),
    node("Add", ["e", "one"], ["p"], name="plus"),
]
SPELLINGS = {
    "half last": [*ERF, node("Mul", ["h", "p"], ["m"]), node("Mul", ["m", "half"], ["g"])],
    "half first": [*ERF, node("Mul", ["half", "h"], ["m"]), node("Mul", ["m", "p"], ["g"])],
    "half inside": [*ERF, node("Mul", ["p", "half"], ["m"]), node("Mul", ["h", "m"], ["g"])],
    "inverse": [
        node("Mul", ["inverse", "h"], ["a"], name="mul"),
        *ERF[1:2],
        node("Add", ["one", "e"], ["p"], name="plus"),
        node("Mul", ["p", "h"], ["m"]),
        node("Mul", ["half", "m"], ["g"]),
    ],
    "one node": [node("Gelu", ["h"], ["g"], name="gelu")],
}
"""Of ``g`` from ``h``."""


def block(spelling: str, outputs: tuple[str, ...] = ("y",), opset: int = 18) -> ir.Model:
    """A product, GELU, a product."""
    return graphs.network(
        [
            node("MatMul", ["x", "up"], ["h"], name="up"),
            *SPELLINGS[spelling],
            node("MatMul", ["g", "down"], ["y"], name="down"),
        ],
        {"up": weight(SIZE, SIZE) / 4, "down": weight(SIZE, SIZE, seed=1) / 4, **SCALARS},
        shape=["batch", SIZE],
        outputs=outputs,
        opset=20 if spelling == "one node" else opset,
    )


def rounded(model: ir.Model) -> ir.Model:
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], [])
    return apply(QuantizeDynamic(min_size=1), "quantize_dynamic", model, context)[0]


def approximated(model: ir.Model) -> tuple[ir.Model, PassReport]:
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], [])
    return apply(ApproximateGelu(), "approximate_gelu", model, context)


def by_tanh(model: ir.Model) -> int:
    operators = graphs.operators(model)
    assert "Erf" not in operators
    forms = (each.attributes.get("approximate") for each in model.graph if each.op_type == "Gelu")
    return operators.count("FastGelu") + sum(
        f is not None and f.as_string() == "tanh" for f in forms
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_becomes_one_node_and_a_second_run_changes_nothing(spelling: str) -> None:
    before = rounded(block(spelling))
    after, report = approximated(before)
    assert by_tanh(after) == len(report.edits) == 1
    assert "tanh" in report.edits[0].what
    assert signature(after) == signature(before)
    onnx.checker.check_model(onnx.ModelProto.FromString(to_bytes(after)), full_check=True)
    again, second = approximated(after)
    assert second.edits == ()
    assert to_bytes(again) == to_bytes(after)


@pytest.mark.parametrize("opset", [18, 20])
def test_values_are_within_the_bound_and_come_near_it(opset: int) -> None:
    nodes = [*SPELLINGS["half last"], node("MatMul", ["h", "w"], ["y"], name="product")]
    model = graphs.network(
        [node("Identity", ["x"], ["h"], name="same"), *nodes],
        {"w": weight(1, SIZE), **SCALARS},
        shape=["batch", 1],
        outputs=("y", "g"),
        opset=opset,
    )
    grid = np.linspace(-12, 12, 240001, dtype=np.float32)[:, None]
    after, report = approximated(rounded(model))
    assert by_tanh(after) == len(report.edits) == 1
    (got,), (want,) = (graphs.run(each, [{"x": grid}]) for each in (after, model))
    far = np.abs(got["g"].astype(np.float64) - want["g"].astype(np.float64)).max()
    assert 0.9 * FARTHEST < far <= FARTHEST + 1e-6  # float32 rounds both near 12 by 5e-7


@pytest.mark.parametrize("seen", ["a", "e", "p", "m"])
def test_what_is_read_elsewhere_stays(seen: str) -> None:
    assert approximated(rounded(block("half last", ("y", seen))))[1].edits == ()


@pytest.mark.parametrize("name", ["root", "one", "half"])
def test_another_number_is_another_function(name: str) -> None:
    model = rounded(block("half last"))
    model.graph.initializers[name].const_value = ir.tensor(np.float32(0.9), name=name)
    assert approximated(model)[1].edits == ()


def test_a_float_model_keeps_its_values() -> None:
    assert approximated(block("one node"))[1].edits == ()


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
def test_both_exporters_spellings_are_found(opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)).eval()
    file = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter calls itself old
        torch.onnx.export(
            module, (torch.zeros(2, 8),), file, opset_version=opset, dynamo=opset > 17
        )
    model = parse(file.read_bytes(), "the test model").model
    assert sum(find(each) is not None for each in model.graph) == 1


def test_another_provider_is_skipped() -> None:
    assert isinstance(ApproximateGelu().fit(load("tensorrt")), Skip)
    assert isinstance(ApproximateGelu().fit(load("x86_64")), ApproximateGelu)
