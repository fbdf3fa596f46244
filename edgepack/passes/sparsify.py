"""Zero the smallest weights, so that fewer bytes ship.

Zeros make a file smaller, never a run faster: kernels multiply by them like by any other number,
and a runtime makes a sparse weight dense when it loads. What makes a run faster is whole channels
that are gone (``remove_dead_channels``). Before a quantizer, a zero stays a zero: codes of weights
are symmetric.

Source: Han et al. 2015, arXiv:1506.02626, section 3 (magnitude, here without retraining); LeCun et
al. 1989, "Optimal Brain Damage", section 2.2, and Sun et al. 2023, arXiv:2306.11695, eq. (1)
(weighted by the inputs, here ranked over a tensor); Zhou et al. 2021, arXiv:2102.04010 (two of
four).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.calibration.operands import why_not_rows
from edgepack.graph.constants import Array, add_constant, constant
from edgepack.graph.lookup import check_nodes, label
from edgepack.graph.storage import Storage
from edgepack.passes import Context, Edit, Keeps
from edgepack.quantization.stored import output_axes, weights_of
from edgepack.spec.step import Step

Dropped = npt.NDArray[np.bool_]
Power = npt.NDArray[np.float64]

_FLOATS = (np.float32, np.float64, np.float16)


class Sparsify(Step, frozen=True):
    """Zero the entries of least magnitude in the weights of products and recurrent layers.

    Attributes:
        fraction: Of the entries, in [0, 1]: as many become zero, unless ``error`` is met before.
        error: The most that a weight, or all of them together, may change:
            ``|dropped| / |weight|`` in the 2-norm.
        scope: Whether both limits hold in each tensor, or over all of them together.
        weighting: ``second_moments`` multiplies each entry by the root mean square of what it is
            multiplied with in calibration, so that what goes is what moves the product least, and
            ``error`` limits the change of the product, were inputs uncorrelated. Weights whose
            inputs cannot be sampled (recurrent ones, say) count by magnitude, and so do all where
            there are no calibration data.
        pattern: ``2:4`` zeroes the two smaller of every four along the inputs of an output
            channel, whatever ``fraction`` says.
        storage: ``auto`` keeps each weight in the form that takes fewer deflated bytes,
            ``sparse_initializer`` in the one that takes fewer bytes on disk.
        min_size: Tensors with fewer entries are left alone.
        exclude: Names of nodes whose weights are left alone.
    """

    fraction: float = 0.5
    error: float = 1.0
    scope: Literal["tensor", "global"] = "tensor"
    weighting: Literal["magnitude", "second_moments"] = "magnitude"
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    storage: Storage = "auto"
    min_size: int = 1024
    exclude: tuple[str, ...] = ()
    keeps: ClassVar[Keeps] = "interface"

    def __post_init__(self) -> None:
        """Refuse fractions that are none."""
        for name, value in (("fraction", self.fraction), ("error", self.error)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, it lies between 0 and 1")

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Choose what goes, in each weight or over all, then replace each weight once."""
        check_nodes(model.graph, self.exclude)
        found = self._weights(model.graph)
        arrays = {value: array for value in found if (array := constant(value)) is not None}
        weighed = self._weighed(model, ctx, arrays)
        for value, dropped in self._choose(weighed, found).items():
            array = arrays[value]
            new = int(np.count_nonzero(array[dropped]))
            if new:
                sparse = np.where(dropped, array.dtype.type(0), array)
                kept = add_constant(model.graph, f"{value.name}.sparse", sparse)
                ir.convenience.replace_all_uses_with(value, kept)
                zeros = int(np.count_nonzero(sparse == 0))
                said = f"{zeros} of {array.size} weights are zero"
                yield Edit(found[value].name or "?", f"{said}{self._want(ctx)}")

    def _weights(self, graph: ir.Graph) -> dict[ir.Value, ir.Node]:
        """Return the weights to thin out, each with the first node that reads it as one."""
        found: dict[ir.Value, ir.Node] = {}
        for node in graph:
            for value in weights_of(node):
                array = constant(value)
                readers = [user for user, _ in value.uses()]
                if (
                    array is not None
                    and array.dtype in _FLOATS
                    and array.ndim > 1
                    and array.size >= self.min_size
                    and all(value in weights_of(user) for user in readers)
                    and not any(user.name in self.exclude for user in readers)
                    and not value.is_graph_output()
                ):
                    found.setdefault(value, node)
        return found

    def _want(self, ctx: Context) -> str:
        """Return what an edit adds where weights could not be weighed as asked."""
        lacking = self.weighting == "second_moments" and ctx.power is None
        return ", by magnitude for want of calibration data" if lacking else ""

    def _weighed(
        self, model: ir.Model, ctx: Context, arrays: Mapping[ir.Value, Array]
    ) -> Mapping[ir.Value, Array]:
        """Return each weight times the root mean square of its inputs, where that is asked."""
        if self.weighting == "magnitude" or ctx.power is None:
            return arrays
        readers = {
            value: [user for user, _ in value.uses() if _sampled(user, model.graph)]
            for value in arrays
        }
        asked = dict.fromkeys(label(user) for users in readers.values() for user in users)
        power = ctx.power(model, tuple(asked))
        weighed = dict(arrays)
        for value, users in readers.items():
            if users:  # several share it: their inputs add up
                squares = sum(_as_stored(power[label(user)], user, arrays[value]) for user in users)
                weighed[value] = arrays[value] * np.sqrt(squares)
        return weighed

    def _choose(
        self, arrays: Mapping[ir.Value, Array], readers: Mapping[ir.Value, ir.Node]
    ) -> dict[ir.Value, Dropped]:
        """Return which entries of each weight go."""
        if self.pattern == "2:4":
            return {each: _two_of_four(array, readers[each]) for each, array in arrays.items()}
        if self.scope == "tensor":
            return {each: self._smallest([array])[0] for each, array in arrays.items()}
        return dict(zip(arrays, self._smallest(list(arrays.values())), strict=True))

    def _smallest(self, arrays: list[Array]) -> list[Dropped]:
        """Return the smallest entries of several arrays taken together; ties go in order."""
        if not arrays:
            return []
        flat = np.concatenate([np.abs(array.astype(np.float64)).ravel() for array in arrays])
        order = np.argsort(flat, kind="stable")
        most = int(self.fraction * flat.size)
        if self.error < 1:
            energy = np.cumsum(np.square(flat[order]))
            budget = self.error**2 * energy[-1]
            most = min(most, int(np.searchsorted(energy, budget, side="right")))
        dropped = np.zeros(flat.size, np.bool_)
        dropped[order[:most]] = True
        ends = np.cumsum([array.size for array in arrays])[:-1]
        parts = np.split(dropped, ends)
        return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def _sampled(node: ir.Node, graph: ir.Graph) -> bool:
    """Whether calibration shows what ``node`` multiplies by its weight."""
    return node.graph is graph and not why_not_rows(node)


def _as_stored(power: Power, node: ir.Node, weight: Array) -> Power:
    """Return mean squares ``(groups, K)`` so that they broadcast with the weight of ``node``."""
    if node.op_type == "Conv":
        rows = np.repeat(power, len(weight) // len(power), axis=0)
        return rows.reshape(weight.shape)
    (outputs,) = output_axes(node)
    return np.expand_dims(power[0], outputs)


def _two_of_four(array: Array, node: ir.Node) -> Dropped:
    """Return the two smaller of every four entries along the inputs of each output channel."""
    axes = tuple(axis % array.ndim for axis in output_axes(node))
    rows = np.moveaxis(np.abs(array), axes, range(len(axes)))
    shape = rows.shape
    flat = rows.reshape(int(np.prod(shape[: len(axes)])), -1)
    whole = flat.shape[1] // 4 * 4
    fours = flat[:, :whole].reshape(len(flat), -1, 4)
    ranks = fours.argsort(axis=2, kind="stable").argsort(axis=2, kind="stable")
    dropped = np.zeros(flat.shape, np.bool_)
    dropped[:, :whole] = (ranks < 2).reshape(len(flat), whole)
    return np.moveaxis(dropped.reshape(shape), range(len(axes)), axes)
