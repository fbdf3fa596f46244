"""A few rows of tensors, as they stand in front of the last axis, run by run."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.data.samples import Item
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Signature

Rows = npt.NDArray[np.float32]

RUNS, MOST = 24, 64
"""Runs looked at, and rows kept of each."""


def rows(
    model: ir.Model, tensors: Sequence[str], items: Iterable[Item], signature: Signature
) -> Mapping[str, tuple[Rows, ...]]:
    """Return each tensor as rows ``[n, last axis]``, one array per run.

    Args:
        model: Float, or with Q/DQ pairs: those are computed in exact mode; left as it is.
        tensors: Names of float tensors that nodes of the main graph make.
        items: Calibration data, of which the first few runs are taken.
        signature: Interface of ``model`` with its carried state.
    """
    draft = private_copy(model)
    made = {out.name: out for node in draft.graph for out in node.outputs}
    shown = {}
    for index, name in enumerate(tensors):
        copy = ir.node("Identity", [made[name]])
        out = copy.outputs[0]
        shown[name] = out.name = f"edgepack.rows.{index}"
        out.type, out.shape = ir.TensorType(ir.DataType.FLOAT), made[name].shape
        draft.graph.append(copy)
        draft.graph.outputs.append(out)
    session = Session(to_bytes(draft), Options(exact=True), where="the calibration model")
    found: dict[str, list[Rows]] = {name: [] for name in tensors}
    left = RUNS
    for item in items:
        few = item.samples[:left]
        for outputs in run_sequence(session.run, few, signature):
            for name, out_name in shown.items():
                found[name].append(_some(outputs[out_name]))
        left -= len(few)
        if left <= 0:
            break
    return {name: tuple(each) for name, each in found.items()}


def _some(array: npt.NDArray[np.generic]) -> Rows:
    """Return evenly spread rows, and the two that hold the extrema: they set the range."""
    flat = array.reshape(-1, array.shape[-1]).astype(np.float32)
    if len(flat) <= MOST:
        return flat
    spread = np.arange(0, len(flat), -(-len(flat) // MOST))
    ends = [int(flat.max(axis=1).argmax()), int(flat.min(axis=1).argmin())]
    some: Rows = flat[np.unique([*spread, *ends])]
    return some
