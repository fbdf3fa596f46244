"""Laws of weights in fewer bits, on every model of the zoo."""

import functools
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.graph.census import census
from edgepack.graph.precision import precisions
from edgepack.graph.write import to_bytes
from edgepack.passes import PassReport, apply
from edgepack.passes.quantize_weights import QuantizeWeights
from edgepack.passes.tidy import Tidy
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from tests import graphs, zoo

Bits = Literal[4, 8]
FLOOR_DB = {8: 35.0, 4: 15.0}
"""Rounding alone gives 37 and 18 dB at worst here; a wrong axis, nibble or block less than 10."""

every_model = pytest.mark.parametrize("name", zoo.ZOO)
both = pytest.mark.parametrize("bits", [8, 4])


@functools.cache
def done(name: str, bits: Bits) -> tuple[ir.Model, ir.Model, list[Sample], PassReport]:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model)
    context = graphs.context(graphs.SCHEMES["u8s8-pair"], listed)
    before, _ = apply(Tidy(), "tidy", model, context)
    step = QuantizeWeights(bits=bits, block=16, min_size=1)
    after, report = apply(step, "quantize_weights", before, context)
    return before, after, listed, report


@every_model
@both
def test_outputs_stay_close(name: str, bits: Bits) -> None:
    before, after, listed, _ = done(name, bits)
    want, got = graphs.run(before, listed), graphs.run(after, listed)
    for output in want[0]:
        assert graphs.sqnr(want, got, output) > FLOOR_DB[bits], output


@every_model
@both
def test_both_modes_of_the_runtime_agree_bit_for_bit(name: str, bits: Bits) -> None:
    _, after, listed, _ = done(name, bits)
    default, exact = (graphs.run(after, listed, Options(exact=e)) for e in (False, True))
    for here, there in zip(default, exact, strict=True):
        for output, array in there.items():
            np.testing.assert_array_equal(here[output], array)


@every_model
@both
def test_weights_never_take_more_bytes(name: str, bits: Bits) -> None:
    before, after, _, report = done(name, bits)
    changed = any(not edit.left for edit in report.edits)
    if name in {"conv1d", "grouped", "one_channel", "mean_kept"} or bits == 4:
        assert census(after).weights <= census(before).weights
    elif changed:
        assert census(after).weights < census(before).weights


@pytest.mark.parametrize("name", ["residual", "lite", "lstm", "recurrent", "transformer", "gemm"])
@pytest.mark.parametrize("level", ["basic", "all"])
def test_the_runtime_unpacks_bytes_when_it_loads_them(
    name: str, level: Literal["basic", "all"], tmp_path: Path
) -> None:
    ops = []
    for index, model in enumerate(done(name, 8)[:2]):
        path = tmp_path / f"{index}.onnx"
        Session(to_bytes(model), Options(level=level, save_optimized=path))
        ops.append(Counter(node.op_type for node in onnx.load(path).graph.node))
    assert ops[0] == ops[1], "nothing is left that would run each time"


def test_four_bits_take_every_constant_matrix_and_nothing_else() -> None:
    after = done("transformer", 4)[1]
    table = precisions(after)
    assert table["MatMulNBits"] == {"int4": 6}
    assert table["MatMul"] == {"float32": 2}
    left = {edit.where: edit.what for edit in done("residual", 4)[3].edits if edit.left}
    assert left["conv1"] == "Conv has no kernel that reads four bits"


def test_a_weight_that_an_add_reads_too_stays() -> None:
    left = {edit.where: edit.what for edit in done("shared_weight", 8)[3].edits if edit.left}
    assert left["matmul1"] == "its weight is also read by add"


def test_what_is_stored_in_bytes_is_reported_as_int8() -> None:
    table = precisions(done("recurrent", 8)[1])
    assert table["LSTM"] == table["GRU"] == {"int8": 1}
    assert set(table) == {"LSTM", "GRU", "Transpose", "Reshape"}, "unpacking is no work of its own"
