"""Laws over every file of ``edgepack/passes/``, each on every model of the zoo."""

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.base import registry
from edgepack.base.errors import ModelError
from edgepack.graph.census import signature
from edgepack.graph.constants import attribute, constant
from edgepack.graph.precision import precisions
from edgepack.graph.write import to_bytes
from edgepack.passes import Pass, PassReport, Step, apply
from edgepack.quantization.pair_law import obeys
from edgepack.quantization.scales import orders_of_k
from edgepack.runtime.saturation import saturates
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from tests import graphs, zoo

PASSES = registry.names("passes")
LOSSLESS = (
    "tidy",
    "fold_batchnorm",
    "remove_dead_channels",
    "equalize",
    "part_norms",
    "fuse_attention",
)
"""What a recipe runs before it rounds anything."""

PREPARING = ("split_outliers", "smooth")
"""What a recipe runs before it rounds matrices at run time."""

LAST = ("share_transposed",)
"""What a recipe runs when all is rounded."""

SIZES: dict[str, dict[str, object]] = {
    "split_outliers": {"min_size": 1, "units": 2, "least": 0.0},
    "smooth": {"min_size": 1, "least": 0.0},
    "quantize_dynamic": {"min_size": 1},
    "share_transposed": {"min_bytes": 1},
    "quantize_weights": {"min_size": 1},
    "sparsify": {"min_size": 1},
}
"""The zoo is small: what would be too little to gain is taken here."""

ROUNDING = 1e-5
"""Of the largest output: what a pass that keeps values may change. Sums in another order and a
folded batch norm moved these models by at most 3e-7."""

FLOOR_DB = 25.0
"""Signal over quantization noise in exact mode: eight bits give 28 to 55 dB here, one wrong scale,
zero point or axis gives less than 15."""


@dataclass(frozen=True)
class Applied:
    """A pass applied to a model of the zoo."""

    before: ir.Model
    after: ir.Model
    report: PassReport
    listed: list[Sample]


@functools.cache
def floats(name: str) -> tuple[ir.Model, list[Sample], list[graphs.Outputs]]:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model)
    return model, listed, graphs.run(model, listed)


def step(use: str) -> Step:
    made = registry.find("passes", use)(**SIZES.get(use, {}))
    assert isinstance(made, Step)
    return made


def once(
    use: str, model: ir.Model, listed: list[Sample], scheme: str
) -> tuple[ir.Model, PassReport]:
    return apply(step(use), use, model, graphs.context(graphs.SCHEMES[scheme], listed))


@functools.cache
def applied(use: str, name: str, scheme: str = "u8s8-pair") -> Applied:
    """Apply one pass, after the lossless ones where it is not one of them."""
    model, listed, _ = floats(name)
    if use not in LOSSLESS:
        for earlier in LOSSLESS:
            model, _ = once(earlier, model, listed, scheme)
    after, report = once(use, model, listed, scheme)
    return Applied(model, after, report, listed)


def edits(report: PassReport) -> list[str]:
    return [edit.what for edit in report.edits if not edit.left]


every_pass = pytest.mark.parametrize("use", PASSES)
every_model = pytest.mark.parametrize("name", zoo.ZOO)
every_scheme = pytest.mark.parametrize("scheme", graphs.SCHEMES)


@every_pass
def test_a_file_in_passes_is_a_pass(use: str) -> None:
    made: Pass = step(use)  # type: ignore[assignment]
    assert made.keeps in {"values", "interface"}
    assert (made.keeps == "values") == (use in LOSSLESS + PREPARING + LAST)


@every_pass
@every_model
def test_a_pass_leaves_its_input_alone_and_gives_the_same_bytes_twice(use: str, name: str) -> None:
    model, listed, _ = floats(name)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    first, again = (once(use, model, listed, "u8s8-pair")[0] for _ in range(2))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert to_bytes(first) == to_bytes(again)


@every_pass
@every_model
def test_a_pass_keeps_the_interface(use: str, name: str) -> None:
    done = applied(use, name)
    assert signature(done.after) == signature(done.before) == signature(floats(name)[0])
    session = Session(to_bytes(done.after))
    assert [spec.name for spec in session.outputs] == [
        spec.name for spec in signature(done.before).outputs
    ]


@every_pass
@every_model
def test_a_model_is_well_formed_after_a_pass(use: str, name: str) -> None:
    model = onnx.ModelProto.FromString(to_bytes(applied(use, name).after))
    onnx.checker.check_model(model, full_check=True)
    read_ = {each for node in model.graph.node for each in node.input}
    inner = {
        each
        for node in model.graph.node
        for attribute in node.attribute
        for nested in attribute.g.node
        for each in nested.input
    }
    ends = {output.name for output in model.graph.output}
    unread = {weight.name for weight in model.graph.initializer} - read_ - inner - ends
    assert not unread, "what nothing reads would ship"


@pytest.mark.parametrize("use", LOSSLESS + PREPARING + LAST)
@every_model
def test_a_pass_that_keeps_values_keeps_them(use: str, name: str) -> None:
    _, listed, want = floats(name)
    for before, after in zip(want, graphs.run(applied(use, name).after, listed), strict=True):
        for output, array in before.items():
            real = array.astype(np.float64)
            gap = np.abs(after[output].astype(np.float64) - real).max()
            assert gap <= ROUNDING * np.abs(real).max()


@every_pass
@every_model
def test_a_second_run_changes_nothing_or_refuses(use: str, name: str) -> None:
    done = applied(use, name)
    if use == "quantize_static" and edits(done.report):
        with pytest.raises(ModelError, match="quantized already") as caught:
            once(use, done.after, done.listed, "u8s8-pair")
        assert caught.value.code == "E-QUANT-TWICE"
        return
    again, report = once(use, done.after, done.listed, "u8s8-pair")
    assert edits(report) == []
    assert to_bytes(again) == to_bytes(done.after)


@every_pass
@every_model
def test_every_change_is_an_edit_and_every_edit_has_a_reason(use: str, name: str) -> None:
    done = applied(use, name)
    changed = to_bytes(done.after) != to_bytes(done.before)
    assert changed == bool(edits(done.report))
    for edit in done.report.edits:
        assert edit.where
        assert len(edit.what.split()) > 1
        assert not edit.what.endswith(".")


@every_model
@every_scheme
def test_an_integer_model_is_close_to_float_in_exact_mode(name: str, scheme: str) -> None:
    _, listed, want = floats(name)
    got = graphs.run(applied("quantize_static", name, scheme).after, listed, Options(exact=True))
    for output in want[0]:
        assert graphs.sqnr(want, got, output) > FLOOR_DB, output


@every_model
def test_a_lawful_model_is_the_same_bit_for_bit_where_the_runtime_saturates(name: str) -> None:
    if not saturates():
        pytest.skip("this CPU does not saturate: both modes compute the same anyway")
    done = applied("quantize_static", name)
    default, exact = (graphs.run(done.after, done.listed, Options(exact=e)) for e in (False, True))
    for here, there in zip(default, exact, strict=True):
        for output, array in there.items():
            np.testing.assert_array_equal(here[output], array)


def test_some_models_of_the_zoo_do_saturate_without_the_law() -> None:
    if not saturates():
        pytest.skip("this CPU does not saturate: nothing can be shown")
    differs = 0
    for name in ("linear", "residual", "lite", "conv1d", "grouped", "gemm_bias"):
        done = applied("quantize_static", name, "u8s8")
        pair = (graphs.run(done.after, done.listed, Options(exact=e)) for e in (False, True))
        differs += any(not np.array_equal(a["y"], b["y"]) for a, b in zip(*pair, strict=True))
    assert differs == 6, "the bit-for-bit law above would hold of anything"


@every_model
def test_weights_keep_the_pair_law_in_every_order(name: str) -> None:
    for node in applied("quantize_static", name).after.graph:
        if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.inputs[1] is None:
            continue
        restore = node.inputs[1].producer()
        codes = None if restore is None else constant(restore.inputs[0])
        if codes is None:
            continue
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() <= 127
        channels = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        if node.op_type == "Conv" and codes.shape[:2] == (attribute(node, "group", 1), 1):
            continue  # depthwise kernels widen each product
        for order in orders_of_k(codes.astype(np.float64), channels):
            assert obeys(order.astype(np.int64))


@every_model
@every_scheme
def test_every_scale_is_finite_and_positive_and_of_the_type_that_kernels_want(
    name: str, scheme: str
) -> None:
    asked = graphs.SCHEMES[scheme]
    for node in applied("quantize_static", name, scheme).after.graph:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        codes, scale, zero = node.inputs[0], constant(node.inputs[1]), constant(node.inputs[2])
        assert scale is not None
        assert zero is not None
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
        assert scale.dtype == np.float32
        if constant(codes) is None:
            assert scale.ndim == zero.ndim == 0, "a scale of shape [1] leaves every Add unfused"
            assert zero.dtype == asked.activations
            assert not asked.symmetric or zero == 0


FUSED = {
    **dict.fromkeys(("residual", "residual_13", "residual_21", "lite", "lite_13"), (1, 0)),
    **dict.fromkeys(("gemm", "gemm_bias", "gemm_transposed", "gemm_transposed_bias"), (1, 0)),
    **dict.fromkeys(("mean", "mean_kept", "mean_13", "branches", "products", "linear"), (1, 0)),
    **dict.fromkeys(("stacked", "stacked_open"), (1, 0)),
    **dict.fromkeys(("conv1d", "grouped", "one_channel", "conv_end", "pad_conv"), (1, 1)),
    **dict.fromkeys(("carriers", "input_read_twice"), (1, 1)),
    **dict.fromkeys(("relu_output", "mixed_readers"), (1, 2)),  # codes, and a float reader of r
    "moved_and_read": (1, 3),  # the same, and an output made of codes
    "conv_transpose": (1, 1),
}
"""Model -> QuantizeLinear and DequantizeLinear that may be left: one at each end."""


AS_ON_ARM = {"session.qdqisint8allowed": "1"}
"""Fuses int8 activations too; on x86 the runtime would keep them in float."""


def optimized(name: str, scheme: str, folder: Path) -> onnx.GraphProto:
    """Return the quantized graph as the runtime runs it."""
    path = folder / "optimized.onnx"
    data = to_bytes(applied("quantize_static", name, scheme).after)
    Session(data, Options(level="extended", entries=AS_ON_ARM, save_optimized=path))
    return onnx.load(path).graph


one_per_kernel = pytest.mark.parametrize("scheme", ["u8s8-pair", "u8s8", "s8s8"])


@one_per_kernel
@pytest.mark.parametrize("name", FUSED)
def test_the_runtime_fuses_all_but_the_ends(name: str, scheme: str, tmp_path: Path) -> None:
    ops = Counter(node.op_type for node in optimized(name, scheme, tmp_path).node)
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == FUSED[name], ops


@one_per_kernel
@pytest.mark.parametrize("name", sorted(zoo.ZOO.keys() - {"shared_weight"}))
def test_no_integer_weight_is_multiplied_in_float(name: str, scheme: str, tmp_path: Path) -> None:
    """All but ``shared_weight``: the runtime makes a float Gemm of MatMul and an added matrix."""
    graph = optimized(name, scheme, tmp_path)
    weights = {tensor.name for tensor in graph.initializer}
    restored = [n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"]
    assert not weights & set(restored)


@every_model
@every_scheme
def test_what_is_reported_as_int8_is_what_the_pass_made_integer(name: str, scheme: str) -> None:
    done = applied("quantize_static", name, scheme)
    made = [edit.where for edit in done.report.edits if "weights to" in edit.what]
    table = precisions(done.after)
    counted = sum(table.get(op, {}).get("int8", 0) for op in ("Conv", "Gemm", "MatMul"))
    assert counted == len(made)


@every_model
@every_scheme
def test_every_node_that_computes_in_float_is_named_with_its_reason(name: str, scheme: str) -> None:
    done = applied("quantize_static", name, scheme)
    told = {edit.where for edit in done.report.edits if edit.left}
    touched = {edit.where.partition(" (")[0] for edit in done.report.edits if not edit.left}
    quiet = {"QuantizeLinear", "DequantizeLinear", "MaxPool", "Flatten", "Reshape", "Squeeze"}
    quiet |= {
        "Gather",
        "Cast",
        "Unsqueeze",
        "Transpose",
        "DepthToSpace",
        "Identity",
        "Slice",
        "Relu",
        "Clip",
        "Shape",
    }
    for node in done.before.graph:
        assert node.name in told | touched or node.op_type in quiet, node.name
    assert not told & touched
