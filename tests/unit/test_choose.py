"""Range methods picked tensor by tensor."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.calibration.collect import collect
from edgepack.calibration.statistics import Statistics
from edgepack.graph.census import signature
from edgepack.graph.write import to_bytes
from edgepack.passes import Context, apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.quantization.choose import choose
from edgepack.quantization.scheme import scheme_for
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from tests import graphs, zoo
from tests.models import weight

node = helper.make_node
INT8 = graphs.SCHEMES["u8s8"]


def outlier_net(*, normalized: bool = False) -> ir.Model:
    """Return a product whose fifth input, the one with outliers, is read with weight 0."""
    read = weight(32, 16)
    read[5] = 0
    norm = [node("LayerNormalization", ["x", "g"], ["n"])] if normalized else []
    return graphs.network(
        [*norm, node("MatMul", ["n" if normalized else "x", "w"], ["y"], name="matmul")],
        {"w": read, "g": np.ones(32, np.float32)} if normalized else {"w": read},
        shape=[4, 32],
    )


def outliers(count: int = 12) -> list[Sample]:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((count, 4, 32)).astype(np.float32)
    values[:, 0, 5] = 80
    return [{"x": each} for each in values]


def picked(model: ir.Model, listed: Sequence[Sample]) -> dict[str, str]:
    name = str(model.graph[-1].inputs[0].name)  # type: ignore[union-attr]
    items = graphs.items(listed)
    seen = collect(model, [name], items, signature(model))
    return choose(model, seen, items, signature(model), scheme_for(INT8))


def context(listed: Sequence[Sample]) -> Context:
    """Return a context that can measure and choose, as the build binds it."""
    plain = graphs.context(INT8, listed)

    def pick(model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, str]:
        assert plain.measure is not None
        seen: Mapping[str, Statistics] = plain.measure(model, tensors)
        return choose(model, seen, graphs.items(listed), signature(model), scheme_for(INT8))

    return Context(plain.target, plain.measure, pick)


def test_where_clipping_costs_more_than_it_saves_nothing_is_clipped() -> None:
    model = outlier_net()
    listed = graphs.samples(model, 12)
    assert picked(model, listed) == {"x": "minmax"}


def test_a_histogram_has_a_veto_over_what_a_few_samples_say() -> None:
    # nobody reads the outliers, so the replay would clip them; over all values that costs a lot
    assert picked(outlier_net(), outliers()) == {"x": "minmax"}


def rare() -> list[Sample]:
    """Return 102,400 normal values of which one, in the last sample, is 7."""
    values = np.random.default_rng(4).standard_normal((800, 4, 32)).astype(np.float32)
    values[-1, 0, 5] = 7
    return [{"x": each} for each in values]


def test_a_rare_value_that_hardly_counts_is_clipped() -> None:
    assert picked(outlier_net(), rare())["x"] != "minmax"


def test_nets_that_normalize_layers_keep_what_loses_nothing() -> None:
    assert set(picked(outlier_net(normalized=True), rare()).values()) == {"minmax"}


@pytest.mark.parametrize("ranges", ["auto", "minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("name", ["residual", "lite", "conv1d", "carriers", "gemm_bias"])
def test_every_method_gives_a_close_model_and_the_same_bytes_twice(name: str, ranges: str) -> None:
    model = zoo.ZOO[name]()
    listed = graphs.samples(model, 8)
    step = QuantizeStatic(ranges=ranges)  # type: ignore[arg-type]
    made = [apply(step, "quantize_static", model, context(listed)) for _ in range(2)]
    assert to_bytes(made[0][0]) == to_bytes(made[1][0])
    want = graphs.run(model, listed)
    got = graphs.run(made[0][0], listed, Options(exact=True))
    output = next(iter(want[0]))
    assert graphs.sqnr(want, got, output) > 15
    told = [edit.what for edit in made[0][1].edits if edit.what.startswith("ranges by")]
    assert len(told) == (ranges == "auto")
