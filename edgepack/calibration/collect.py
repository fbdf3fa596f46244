"""One streaming pass of the calibration data through a model.

The extrema are reduced inside the graph, so each run returns three numbers a tensor and memory does
not grow with samples. The session is optimized: only the tapped tensors keep the runtime from
fusing.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from edgepack.base.errors import DataError
from edgepack.calibration.statistics import Statistics
from edgepack.data.samples import Item
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample, Signature

_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")
"""The sum is for NaN alone: the runtime's extrema pass over one that is not the first value."""


def collect(
    model: ir.Model, tensors: Sequence[str], items: Iterable[Item], signature: Signature
) -> dict[str, Statistics]:
    """Run ``items`` through ``model`` and return the statistics of each of ``tensors``.

    Args:
        model: Float model; left as it is.
        tensors: Names of float tensors of the main graph.
        items: Calibration data; read once, in order.
        signature: Interface of ``model`` with its carried state.

    Raises:
        DataError: A tensor became infinite or not a number, or there are no items.
    """
    if not tensors:
        return {}
    taps, session = _tapped(model, tensors)
    carried = list(signature.state)

    def run(sample: Sample) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
        return session.run(sample, [*taps, *carried])

    seen = dict.fromkeys(tensors, Statistics())
    for index, item in enumerate(items):
        for outputs in run_sequence(run, item.samples, signature):
            reduced = np.array([outputs[tap] for tap in taps], np.float64).reshape(len(tensors), -1)
            for name, (low, high, total) in zip(tensors, reduced.tolist(), strict=True):
                if not all(map(math.isfinite, (low, high, total))):
                    raise DataError(
                        "E-CAL-RANGE",
                        f"tensor {name!r} is not finite on calibration sample {index}",
                        hint="does the float model overflow on this sample?",
                    )
                seen[name] += Statistics(1, low, high)
    if any(statistics.count == 0 for statistics in seen.values()):
        raise DataError("E-CAL-EMPTY", "no calibration sample to measure ranges on")
    return seen


def _tapped(model: ir.Model, tensors: Sequence[str]) -> tuple[list[str], Session]:
    """Add reductions for each tensor and open the result."""
    draft = private_copy(model)
    values = {v.name: v for node in draft.graph for v in node.outputs}
    values |= {v.name: v for v in draft.graph.inputs}
    taps: list[str] = []
    for index, name in enumerate(tensors):
        for reduction in _REDUCTIONS:
            tap = ir.node(reduction, [values[name]], {"keepdims": 0})
            out = tap.outputs[0]
            out.name = f"tap.{index}.{reduction}"
            out.type, out.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
            draft.graph.append(tap)
            draft.graph.outputs.append(out)
            taps.append(out.name)
    return taps, Session(to_bytes(draft), Options(), where="the calibration model")
