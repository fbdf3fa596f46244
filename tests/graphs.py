"""What tests of passes share: reading a tiny model, samples for it, running it, and its noise."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper

from edgepack.calibration.collect import collect
from edgepack.calibration.moments import Moments, mean_squares, second_moments
from edgepack.calibration.rows import Rows, rows
from edgepack.calibration.statistics import Statistics
from edgepack.data.samples import Item
from edgepack.graph.census import signature
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes import Context
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample
from edgepack.spec.target import Int8, Target
from tests.models import Array, proto, value

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

    def second(model: ir.Model, nodes: tuple[str, ...], /) -> Mapping[str, Moments]:
        return second_moments(model, nodes, items(calibration), signature(model))

    def power(model: ir.Model, nodes: tuple[str, ...], /) -> Mapping[str, npt.NDArray[np.float64]]:
        return mean_squares(model, nodes, items(calibration), signature(model))

    def replay(model: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, tuple[Rows, ...]]:
        return rows(model, tensors, items(calibration), signature(model))

    return Context(target(int8, float16=float16), measure, rows=replay, second=second, power=power)


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
