from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.passes import Context, apply
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.quantization.placement import Placement, place
from tests import convolutions, graphs, zoo
from tests.models import Array, value, weight

node = helper.make_node


def placed(model: ir.Model, *exclude: str, absorb: bool = True) -> Placement:
    return place(model.graph, dict.fromkeys(exclude, "excluded by the recipe"), absorb=absorb)


def integer(plan: Placement) -> list[str]:
    return [str(each.name) for each in plan.integer]


def pairs(plan: Placement) -> dict[str, str]:
    return {str(value.name): str(root.name) for value, root in plan.scale_of.items()}


def left(plan: Placement) -> dict[str, str]:
    return {str(each.name): reason for each, reason in plan.left.items()}


def test_a_residual_block_flows_in_integers_from_end_to_end() -> None:
    plan = placed(graphs.read(ir.to_proto(convolutions.grouped())))
    assert integer(plan) == ["conv1", "conv2"]
    assert pairs(plan) == {"x": "x", "r1": "r1", "y": "y"}
    assert {str(v.name): str(c.name) for v, c in plan.absorbed.items()} == {"c1": "relu1"}
    assert left(plan) == {}


def test_a_symmetric_range_absorbs_no_clamp_and_the_kernel_still_takes_it_in() -> None:
    plan = placed(convolutions.grouped(), absorb=False)
    assert pairs(plan) == {"x": "x", "r1": "r1", "y": "y"}
    assert plan.absorbed == {}
    assert left(plan) == {}


def test_what_moves_values_keeps_the_scale_of_its_source() -> None:
    plan = placed(convolutions.branches())
    assert pairs(plan) == {
        **{name: name for name in ("x", "r0", "c1", "c2", "j", "c3")},
        "m": "j",
        "f": "c3",
        "s": "c3",
    }


def test_a_join_is_integer_only_where_integers_arrive() -> None:
    model = graphs.network(
        [
            node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            node("Add", ["c", "x"], ["a"], name="with_float"),
            node("Add", ["c", "c"], ["b"], name="with_integers"),
            node("Add", ["b", "mask"], ["d"], name="with_constant"),
            node("Mul", ["a", "d"], ["y"], name="mul"),
        ],
        {"w": weight(3, 3, 3, 3), "mask": np.array(-10000, np.float32)},
    )
    plan = placed(model)
    assert integer(plan) == ["conv", "with_integers"]
    assert left(plan) == {
        "with_float": "its inputs do not all arrive as integers",
        "with_constant": "its inputs do not all arrive as integers",
        "mul": "Mul has no static integer kernel here",
    }


def test_a_matrix_product_ends_in_float_unless_integers_follow() -> None:
    plan = placed(zoo.transformer())
    assert "x" in pairs(plan)
    assert not {"qm", "km", "vm", "om", "d"} & set(pairs(plan)), "their results stay in float"
    assert pairs(plan)["ur"] == "ur"
    assert left(plan)["scores"] == "its second operand is not a constant weight"
    assert left(plan)["masked"] == "its inputs do not all arrive as integers"


def test_an_excluded_node_is_left_and_what_counted_on_it_too() -> None:
    plan = placed(convolutions.input_read_twice(), "conv1")
    assert integer(plan) == ["conv2"]
    assert left(plan)["conv1"] == "excluded by the recipe"
    assert left(plan)["add"] == "its inputs do not all arrive as integers"


@pytest.mark.parametrize(
    ("bounds", "absorbed"),
    [
        ((0.0, 6.0), True),
        ((-1.0, 1.0), True),
        ((-6.0, 0.0), True),
        ((1.0, 6.0), False),
        ((-6.0, -1.0), False),
        ((None, 6.0), True),
        ((0.0, None), True),
        ((None, None), True),
        ((None, -1.0), False),
    ],
)
def test_a_clip_is_absorbed_where_it_lets_zero_pass(
    bounds: tuple[float | None, float | None], absorbed: object
) -> None:
    names = ["" if bound is None else f"b{i}" for i, bound in enumerate(bounds)]
    constants = {n: np.array(b, np.float32) for n, b in zip(names, bounds, strict=True) if n}
    while names and not names[-1]:
        names.pop()
    model = graphs.network(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Clip", ["c", *names], ["y"], name="clip"),
        ],
        {"w": weight(3, 3, 3, 3), **constants},
    )
    plan = placed(model)
    assert bool(plan.absorbed) == absorbed
    assert left(plan) == ({} if absorbed else {"clip": "no integer kernel takes it in"})


def test_a_clip_whose_bound_is_computed_is_not_absorbed() -> None:
    model = graphs.network(
        [
            node("ReduceMax", ["x"], ["top"], name="top", keepdims=0),
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Clip", ["c", "", "top"], ["y"], name="clip"),
        ],
        {"w": weight(3, 3, 3, 3)},
    )
    assert placed(model).absorbed == {}


def test_a_clamp_is_not_absorbed_where_somebody_reads_what_comes_before_it() -> None:
    assert placed(convolutions.two_outputs()).absorbed == {}
    assert left(placed(convolutions.two_outputs()))["relu"] == "no integer kernel takes it in"


@pytest.mark.parametrize(
    ("attributes", "extra", "reason"),
    [
        ({"alpha": 2.0}, {}, "it scales or transposes its input"),
        ({"beta": 0.5}, {"b": weight(4)}, "it scales or transposes its input"),
        ({"transA": 1}, {}, "it scales or transposes its input"),
        ({}, {"b": weight(4, 1)}, "its bias is not a constant vector"),
        ({}, {"b": weight(4, 4)}, "its bias is not a constant vector"),
        ({}, {"b": weight(1)}, "its bias is not a constant vector"),
        ({}, {"b": weight(1, 4)}, ""),
        ({"alpha": 1.0, "beta": 1.0}, {"b": weight(4)}, ""),
    ],
)
def test_a_gemm_is_integer_where_its_kernel_can_say_the_same(
    attributes: dict[str, Any], extra: dict[str, Array], reason: str
) -> None:
    inputs = ["x", "w", *extra]
    gemm = node("Gemm", inputs, ["y"], name="gemm", **attributes)
    plan = placed(graphs.network([gemm], {"w": weight(4, 4), **extra}, shape=[4, 4]))
    assert left(plan).get("gemm", "") == reason
    assert integer(plan) == ([] if reason else ["gemm"])


@pytest.mark.parametrize(
    ("weights", "shape", "reason"),
    [
        (weight(2, 4, 3), ["batch", 2, 5, 4], "its weight has 3 axes, not 2"),
        (weight(4), ["batch", 4], "its weight has 1 axes, not 2"),
    ],
)
def test_a_product_with_a_stack_of_matrices_stays_in_float(
    weights: Array, shape: list[int | str], reason: str
) -> None:
    model = graphs.network(
        [node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weights}, shape=shape
    )
    assert left(placed(model)) == {"m": reason}


def test_a_recurrent_layer_and_a_transposed_convolution_are_named() -> None:
    assert left(placed(zoo.lstm()))["lstm"] == "LSTM has no static integer kernel here"
    reason = "ConvTranspose has no static integer kernel here"
    assert left(placed(convolutions.conv_transpose()))["deconv"] == reason


def pool(**options: Any) -> ir.Model:
    return graphs.network(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("AveragePool", ["c"], ["y"], name="pool", kernel_shape=[3, 3], **options),
        ],
        {"w": weight(3, 3, 3, 3)},
    )


def test_a_pool_is_integer_unless_its_kernel_counts_padding_in_another_way() -> None:
    assert integer(placed(pool(count_include_pad=1))) == ["conv", "pool"]
    assert integer(placed(pool(ceil_mode=1))) == ["conv", "pool"]
    plan = placed(pool(ceil_mode=1, count_include_pad=1))
    assert left(plan) == {
        "pool": "the integer kernel counts padding in another way than the float one"
    }


def test_a_clamp_after_a_product_is_not_absorbed_where_its_float_result_is_read() -> None:
    model = graphs.network(
        [
            node("Gemm", ["x", "w1"], ["g"], name="gemm1"),
            node("Relu", ["g"], ["r"], name="relu"),
            node("Gemm", ["r", "w2"], ["h"], name="gemm2"),
            node("Sigmoid", ["r"], ["s"], name="sigmoid"),
            node("Mul", ["h", "s"], ["y"], name="mul"),
        ],
        {"w1": weight(4, 4), "w2": weight(4, 4, seed=1)},
        shape=["batch", 4],
    )
    plan = placed(model)
    assert plan.absorbed == {}
    assert integer(plan) == ["gemm1", "gemm2"]


def test_a_node_with_subgraphs_names_the_products_that_stay_in_float_there() -> None:
    def body(*names: str) -> Any:
        nodes = [node("MatMul", ["m", "w"], [name], name=name) for name in names]
        return helper.make_graph(nodes, "body", [], [value(names[-1], None)])

    both = {"then_branch": body("a", "b"), "else_branch": body("c", "d")}
    model = graphs.network(
        [
            node("MatMul", ["x", "w"], ["m"], name="outside"),
            node("ReduceSum", ["x"], ["sum"], keepdims=0, name="sum"),
            node("Cast", ["sum"], ["flag"], to=onnx.TensorProto.BOOL),
            node("If", ["flag"], ["y"], name="if", **both),
        ],
        {"w": weight(4, 4)},
        shape=[2, 4],
    )
    plan = placed(model)
    assert integer(plan) == ["outside"]
    assert left(plan)["if"].startswith("nodes of its subgraphs stay in float: ")
    assert left(plan)["if"].endswith(" and 1 more")
    dynamic = QuantizeDynamic(min_size=1)
    _, report = apply(
        dynamic, "quantize_dynamic", model, Context(graphs.target(graphs.SCHEMES["u8s8"]))
    )
    assert {e.where: e.what for e in report.edits if e.left}["if"] == left(plan)["if"]
