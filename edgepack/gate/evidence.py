"""What passes may ask of the calibration data, answered once for all folds of a plan."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.base.errors import DataError
from edgepack.calibration.collect import collect
from edgepack.calibration.moments import Moments, mean_squares, second_moments
from edgepack.calibration.rows import RUNS, Rows, rows
from edgepack.calibration.statistics import Statistics
from edgepack.calibration.stored import Record, key_of
from edgepack.data.samples import Dataset, Item
from edgepack.graph.write import to_bytes
from edgepack.quantization.choose import choose
from edgepack.quantization.scheme import scheme_for
from edgepack.spec.signature import Signature
from edgepack.spec.target import Target

_REPLAYED = 8
"""Items that range methods are compared on, at most."""


class Evidence:
    """The calibration data of a build; its methods are the callables of a ``Context``.

    What was measured is kept by name: only sparing differs between the folds of a plan, and it
    changes no float tensor, so that a name means the same tensor in all of them.
    """

    def __init__(
        self, target: Target, signature: Signature, calibration: Dataset, *, histograms: bool
    ) -> None:
        """Bind the data to the interface of the model; ``histograms`` where ranges need them."""
        self._target, self._signature = target, signature
        self._calibration, self._histograms = calibration, histograms
        self._seen: dict[str, Statistics] = {}
        self._chosen: dict[str, str] = {}
        self._moments: dict[str, Moments] = {}
        self._power: dict[str, npt.NDArray[np.float64]] = {}
        self._few: list[Item] = []

    def measure(self, draft: ir.Model, tensors: tuple[str, ...], /) -> dict[str, Statistics]:
        """Return the statistics of tensors; see ``passes.Measure``."""
        new = [name for name in tensors if name not in self._seen]
        counted = self._histograms
        self._seen.update(
            collect(draft, new, self._calibration, self._signature, histograms=counted)
        )
        return {name: self._seen[name] for name in tensors}

    def pick(self, draft: ir.Model, tensors: tuple[str, ...], /) -> dict[str, str]:
        """Return the range method that each tensor is served best by; see ``passes.Choose``."""
        assert self._target.int8 is not None
        new = self.measure(draft, tuple(name for name in tensors if name not in self._chosen))
        scheme = scheme_for(self._target.int8)
        few = spread(self._calibration, _REPLAYED)
        self._chosen.update(choose(draft, new, few, self._signature, scheme))
        return {name: self._chosen[name] for name in tensors}

    def moments(self, draft: ir.Model, nodes: tuple[str, ...], /) -> dict[str, Moments]:
        """Return second moments of the inputs of nodes; see ``passes.Second``."""
        new = [name for name in nodes if name not in self._moments]
        self._moments.update(second_moments(draft, new, self._calibration, self._signature))
        return {name: self._moments[name] for name in nodes if name in self._moments}

    def power(
        self, draft: ir.Model, nodes: tuple[str, ...], /
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        """Return mean squares of the inputs of nodes; see ``passes.Power``."""
        new = [name for name in nodes if name not in self._power]
        self._power.update(mean_squares(draft, new, self._calibration, self._signature))
        return {name: self._power[name] for name in nodes}

    def rows(self, draft: ir.Model, tensors: tuple[str, ...], /) -> Mapping[str, tuple[Rows, ...]]:
        """Return what stands in tensors on a few samples; see ``passes.Replay``."""
        if not self._few:  # kept: some steps ask once a layer, and reading may mean decoding
            left = RUNS
            for item in spread(self._calibration, RUNS):
                self._few.append(item)
                left -= len(item.samples)
                if left <= 0:
                    break
        return rows(draft, tensors, self._few, self._signature)


class Kept:
    """Statistics that were measured before; ``measure`` is the callable of a ``Context``."""

    def __init__(self, record: Record) -> None:
        """Bind what was read."""
        self._record = record
        self._same = False

    def measure(self, draft: ir.Model, tensors: tuple[str, ...], /) -> dict[str, Statistics]:
        """Return the statistics of tensors; see ``passes.Measure``.

        The first graph that asks must be the one that was measured; those after it differ in what
        is spared, which changes no float tensor.

        Raises:
            DataError: It is another graph, or a tensor of it was not measured.
        """
        self._same = self._same or key_of(to_bytes(draft)) == self._record.key
        missing = [name for name in tensors if name not in self._record.tensors]
        if missing or not self._same:
            why = (
                f"tensor {missing[0]!r} was not measured"
                if self._same
                else "another graph was measured"
            )
            raise DataError(
                "E-STATS-KEY",
                f"the statistics given do not fit the model: {why}",
                hint="calibrate this model with the same --recipe and --target as the build",
            )
        return {name: self._record.tensors[name] for name in tensors}


def spread(calibration: Dataset, most: int) -> Dataset:
    """Return a few items from all over the calibration data, so that no one kind decides."""
    count = len(calibration)
    return calibration.take(range(0, count, -(-count // most)))
