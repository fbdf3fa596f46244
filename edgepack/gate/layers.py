"""How far each quantized tensor is from what it stands for, the worst first.

Two figures a tensor. What rounding it adds: its codes, restored, against itself before rounding,
within the range of the codes (what lies beyond may be a Relu that the range took in); the shipped
model alone gives that. And how far it has come from the float model by then, with all
that was rounded before it; that takes the float model, which a bundle does not hold.

Tensors are read between kernels, so the runtime fuses nothing around them: a value may differ from
the fused kernel's by one code.

Source: Nagel et al. 2021, arXiv:2106.08295, section 4.4 (debugging flow: signal to noise by layer).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base.errors import DataError, RequestError
from edgepack.calibration.watch import watch
from edgepack.data.samples import Item, first_runs
from edgepack.graph.census import signature as signature_of
from edgepack.graph.constants import constant
from edgepack.graph.precision import integer_nodes, restores
from edgepack.runtime.carry import run_sequence
from edgepack.spec.signature import Signature

RUNS = 64
"""Runs that errors are taken over, at most."""

_Tensors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Error:
    """What rounding did to one tensor, in decibels of signal over noise.

    Attributes:
        tensor: Its name in the graph.
        maker: The node that makes it, or ``an input``.
        added: From rounding this tensor alone; None where that adds nothing, or where it has no
            codes of its own, as behind a product with ranges at run time.
        total: Against the float model; None without one, or where it has no tensor of that name,
            or the same values.
    """

    tensor: str
    maker: str
    added: float | None
    total: float | None

    @property
    def worst(self) -> float:
        """What tensors are sorted by: all that is known of the distance from float."""
        known = self.added if self.total is None else self.total
        return math.inf if known is None else known


@dataclass(slots=True)
class _Sum:
    """Running power of a signal and of what differs from it."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, want: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> None:
        """Take in one run; a tensor of another size is another one under the same name."""
        if want.size != got.size:
            self.noise = math.nan
            return
        x, y = want.ravel().astype(np.float64), got.ravel().astype(np.float64)
        self.signal += float(x @ x)
        self.noise += float((x - y) @ (x - y))

    @property
    def decibels(self) -> float | None:
        tiny = float(np.finfo(np.float64).tiny)
        compared = self.noise > 0  # not a number is not
        return 10 * math.log10(max(self.signal, tiny) / self.noise) if compared else None


@dataclass(frozen=True, slots=True)
class _Sums:
    """By tensor: of its own rounding, and against the float model."""

    added: dict[str, _Sum]
    total: dict[str, _Sum]


_NONE = _Sum()


def errors(
    shipped: ir.Model, items: Iterable[Item], signature: Signature, float_: ir.Model | None = None
) -> tuple[Error, ...]:
    """Run both models and compare their tensors, the worst first; what is exact is left out.

    Args:
        shipped: With integers.
        items: Samples, of which the first few runs are taken.
        signature: Of both models, with the state that is carried.
        float_: What ``shipped`` was made from; names of tensors are those that both have.

    Raises:
        RequestError: The two have different inputs or outputs.
        DataError: There is no sample.
    """
    if float_ is not None and signature_of(float_) != signature_of(shipped):
        raise RequestError(
            "E-FLOAT",
            "the float model has other inputs or outputs",
            hint="give the model that was built from",
        )
    listed = list(first_runs(items, RUNS))
    if not listed:
        raise DataError("E-DATA-EMPTY", "no sample to compare layers on")
    pairs, made = _pairs(shipped), _made(shipped)
    rounded = {**{name: name for name in made}, **pairs}
    known = {} if float_ is None else _values(float_)
    sums = _Sums({name: _Sum() for name in pairs}, {n: _Sum() for n in rounded if n in known})
    read = _reader(shipped, (*pairs, *pairs.values(), *made), listed, signature)
    exact = iter(()) if float_ is None else _reader(float_, sums.total, listed, signature)
    ranges = _ranges(shipped)
    for got in read:
        for name, after in pairs.items():
            low, high = ranges.get(name, (-math.inf, math.inf))
            sums.added[name].add(np.clip(got[name], low, high), got[after])
        for name, want in next(exact, {}).items():
            sums.total[name].add(want, got[rounded[name]])
    makers = {name: _maker(value) for name, value in _values(shipped).items()}
    found = [
        Error(
            name,
            makers[name],
            sums.added.get(name, _NONE).decibels,
            sums.total.get(name, _NONE).decibels,
        )
        for name in rounded
    ]
    noisy = (error for error in found if error.worst < math.inf)
    return tuple(sorted(noisy, key=lambda error: error.worst))  # ties keep the graph's order


def _values(model: ir.Model) -> dict[str, ir.Value]:
    """Return the real tensors of the main graph by name, but for constants."""
    every = [*model.graph.inputs, *(out for node in model.graph for out in node.outputs)]
    return {str(v.name): v for v in every if v.name and v.dtype in {None, ir.DataType.FLOAT}}


def _pairs(model: ir.Model) -> dict[str, str]:
    """Return each tensor that is rounded to codes -> the tensor restored from them."""
    known, found = _values(model), {}
    for node in model.graph:
        source, users = node.inputs[0] if node.inputs else None, node.outputs[0].consumers()
        if node.op_type != "QuantizeLinear" or source is None or source.name not in known:
            continue
        restored = [str(u.outputs[0].name) for u in users if u.op_type == "DequantizeLinear"]
        if restored:
            found[str(source.name)] = restored[0]
    return found


def _ranges(model: ir.Model) -> dict[str, tuple[float, float]]:
    """Return what the codes of each rounded tensor can stand for."""
    found = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and len(node.inputs) > 2 and node.inputs[0]:
            scale, zero = constant(node.inputs[1]), constant(node.inputs[2])
            if scale is not None and zero is not None and scale.size == 1:
                limits, step, middle = np.iinfo(zero.dtype), float(scale.item()), int(zero.item())
                ends = ((limits.min - middle) * step, (limits.max - middle) * step)
                found[str(node.inputs[0].name)] = ends
    return found


def _made(model: ir.Model) -> list[str]:
    """Return the real results of nodes that multiply by integers."""
    integers, known = set(integer_nodes(model)), _values(model)
    ends = (_restored(node).name for node in model.graph if node.name in integers)
    return [str(name) for name in ends if name in known]


def _restored(node: ir.Node) -> ir.Value:
    """Return the real result of a node, behind what turns its sums of codes into real numbers."""
    out = node.outputs[0]
    users = out.consumers()
    if len(users) == 1 and (
        (node.op_type == "MatMulInteger" and users[0].op_type == "Cast")
        or (node.op_type == "Cast" and restores(users[0]))
    ):
        return _restored(users[0])
    return out


def _maker(value: ir.Value) -> str:
    node = value.producer()
    return "an input" if node is None else f"{node.op_type} {node.name}"


def _reader(
    model: ir.Model, names: Iterable[str], items: Iterable[Item], signature: Signature
) -> Iterator[_Tensors]:
    """Yield what stands in the named tensors, run by run."""
    watched = watch(model, list(dict.fromkeys(names)))
    for item in items:
        for outputs in run_sequence(watched.run, item.samples, signature):
            yield watched.tensors(outputs)
