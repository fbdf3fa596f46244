import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.gate.tolerance import one_code, tolerances
from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.spec.signature import Sample
from tests import convolutions, graphs, zoo
from tests.models import Array, proto, value

node = helper.make_node


def numbers(kind: type[np.generic], *values: float) -> Array:
    return np.array(values, kind)


def integer_convolution(*after: str) -> ir.Model:
    """Return x -> Q/DQ -> Conv -> Q/DQ -> ``after``: scales 0.5 at the input, 0.25 behind."""
    names = ["d2", *(f"a{i}" for i in range(len(after)))]
    names = [*names[:-1], "y"] if after else ["y"]
    return graphs.read(
        proto(
            [
                node("QuantizeLinear", ["x", "s1", "z"], ["q1"]),
                node("DequantizeLinear", ["q1", "s1", "z"], ["d1"]),
                node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=0),
                node("Conv", ["d1", "dw"], ["c"]),
                node("QuantizeLinear", ["c", "s2", "z"], ["q2"]),
                node("DequantizeLinear", ["q2", "s2", "z"], [names[0]]),
                *(node(op, [names[i]], [names[i + 1]]) for i, op in enumerate(after)),
            ],
            {
                "s1": np.array(0.5, np.float32),
                "s2": np.array(0.25, np.float32),
                "z": np.array(0, np.uint8),
                "w": np.array([[[[100]]], [[[50]]]], np.int8),
                "sw": numbers(np.float32, 8, 16),
                "zw": numbers(np.int8, 0, 0),
            },
            inputs=[value("x", [1, 1, 2, 2])],
            outputs=[value("y", None)],
        )
    )


def integer_gemm(*, middle: int = 0) -> ir.Model:
    """Return x -> Q/DQ, scale 0.5 -> Gemm: columns of codes (100, -3), (7, 20), scales 1/8, 1."""
    kind: type[np.generic] = np.uint8 if middle else np.int8
    codes = np.array([[100, 7], [-3, 20]]) + middle
    return graphs.read(
        proto(
            [
                node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                node("DequantizeLinear", ["q", "s", "z"], ["d"]),
                node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=1),
                node("Gemm", ["d", "dw"], ["y"]),
            ],
            {
                "s": np.array(0.5, np.float32),
                "z": np.array(0, np.uint8),
                "w": codes.astype(kind),
                "sw": numbers(np.float32, 0.125, 1),
                "zw": numbers(kind, middle, middle),
            },
            inputs=[value("x", [1, 2])],
            outputs=[value("y", None)],
        )
    )


ZEROS: list[Sample] = [{"x": np.zeros((1, 1, 2, 2), np.float32)}]


@pytest.mark.parametrize(
    ("after", "moved"),
    [
        ((), 0.25),
        (("Relu",), 0.25),
        (("Sigmoid", "Neg"), 1 / (1 + np.exp(-0.25)) - 0.5),
        (("Softplus", "Relu"), np.log1p(np.exp(0.25)) - np.log(2)),
        (("Floor",), 1),  # a quarter down from 0
    ],
)
def test_one_code_of_a_convolution_goes_through_what_follows_it(
    after: tuple[str, ...], moved: float
) -> None:
    assert one_code(integer_convolution(*after), ZEROS) == {"y": pytest.approx(moved, rel=1e-6)}


@pytest.mark.parametrize("middle", [0, 128])
def test_one_code_of_the_input_of_a_gemm_moves_its_output_by_its_largest_weight(
    middle: int,
) -> None:
    # the weights are (12.5, -0.375) and (7, 20): one code of 0.5 moves an output by at most 10
    samples: list[Sample] = [{"x": np.zeros((1, 2), np.float32)}]
    assert one_code(integer_gemm(middle=middle), samples) == {"y": 10}


def test_the_same_samples_give_the_same_answer() -> None:
    model = integer_convolution("Sigmoid")
    assert one_code(model, ZEROS) == one_code(model, ZEROS)


def test_a_float_model_has_no_codes() -> None:
    model = convolutions.residual()
    assert one_code(model, graphs.samples(model, 1)) == {"y": 0}


def test_a_weight_stored_in_integers_is_no_activation() -> None:
    model = graphs.read(
        proto(
            [
                node("DequantizeLinear", ["w", "s", "z"], ["dw"], axis=1),
                node("MatMul", ["x", "dw"], ["y"]),
            ],
            {
                "w": np.ones((4, 3), np.int8),
                "s": numbers(np.float32, 1, 1, 1),
                "z": numbers(np.int8, 0, 0, 0),
            },
        )
    )
    assert one_code(model, graphs.samples(model, 1)) == {"y": 0}


@pytest.mark.parametrize("name", ["residual", "relu_output", "branches", "transformer", "lstm"])
def test_an_error_of_one_code_is_seen_and_small_beside_the_output(name: str) -> None:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model, 2)
    context = graphs.context(graphs.SCHEMES["u8s8"], listed)
    done, _ = apply(QuantizeStatic(), "quantize_static", model, context)
    code = one_code(done, listed)
    for output, array in graphs.run(done, listed[:1])[0].items():
        largest = float(np.abs(array.astype(np.float64)).max())
        assert 0 <= code[output] < largest / 4
        assert code[output] > 0 or (name, output) == ("lstm", "c"), "nothing is integer before c"


def test_a_tolerance_is_one_code_or_twice_what_was_seen_or_a_trace_of_the_output() -> None:
    golden, code = {"y": numbers(np.float32, 10, -20)}, {"y": 0.25}
    assert tolerances(golden, code, {}) == {"y": 0.25}
    assert tolerances(golden, code, {"y": 0.1}) == {"y": 0.25}
    assert tolerances(golden, code, {"y": 0.5}) == {"y": 1}
    large = {"y": numbers(np.float32, 5000, np.inf, np.nan)}
    assert tolerances(large, code, {}) == {"y": 0.5}  # 1e-4 of it


def test_a_float_output_of_zeros_still_has_a_tolerance() -> None:
    found = tolerances({"y": np.zeros((2, 16), np.float32)}, {"y": 0.0}, {})
    assert 0 < found["y"] < 1e-10


def test_a_decision_must_be_the_same() -> None:
    assert tolerances({"y": numbers(np.int64, 3, 1)}, {"y": 2.0}, {"y": 1.0}) == {"y": 0}


def test_an_input_that_no_quantized_tensor_needs_is_given_to_what_follows() -> None:
    model = graphs.read(
        proto(
            [
                node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                node("DequantizeLinear", ["q", "s", "z"], ["d"]),
                node("Mul", ["d", "late"], ["y"]),
            ],
            {"s": np.array(0.5, np.float32), "z": np.array(0, np.uint8)},
            inputs=[value("x", [1, 2]), value("late", [1, 2])],
        )
    )
    sample: Sample = {"x": numbers(np.float32, 1, 1)[None], "late": numbers(np.float32, 3, 3)[None]}
    assert one_code(model, [sample]) == {"y": 1.5}


def test_codes_that_only_the_branches_of_an_if_read_are_the_last_too() -> None:
    both = {
        name: helper.make_graph(
            [node("Mul", ["d", by], [f"{by}.y"])], by, [], [value(f"{by}.y", None)]
        )
        for name, by in (("then_branch", "three"), ("else_branch", "five"))
    }
    model = graphs.read(
        proto(
            [
                node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                node("DequantizeLinear", ["q", "s", "z"], ["d"]),
                node("ReduceSum", ["x"], ["sum"], keepdims=0),
                node("Greater", ["sum", "zero"], ["flag"]),
                node("If", ["flag"], ["y"], **both),
            ],
            {
                "s": np.array(0.5, np.float32),
                "z": np.array(0, np.uint8),
                "zero": np.array(0, np.float32),
                "three": np.array(3, np.float32),
                "five": np.array(5, np.float32),
            },
            inputs=[value("x", [1, 2])],
        )
    )
    ones = np.ones((1, 2), np.float32)
    assert one_code(model, [{"x": ones}]) == {"y": 1.5}
    assert one_code(model, [{"x": -ones}]) == {"y": 2.5}


def test_an_output_in_float16_may_be_off_by_two_of_its_own_codes() -> None:
    golden = {"y": numbers(np.float16, 1.5, -1)}
    apart = float(np.spacing(np.float16(1.5)))
    assert 2 * apart <= tolerances(golden, {"y": 0.0}, {})["y"] < 4 * apart


def test_an_output_that_is_a_constant_is_moved_by_no_code() -> None:
    """Folding makes one of ``Identity(weight)``, and an export may well return a table."""
    model = integer_gemm()
    model.graph.initializers["sw"].name = "table"
    model.graph.outputs.append(model.graph.initializers["table"])
    assert one_code(model, [{"x": np.ones((1, 2), np.float32)}])["table"] == 0
