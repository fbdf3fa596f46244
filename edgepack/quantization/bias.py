"""Bias correction: what rounding adds to each channel on average is taken out of its bias.

Layer by layer in the order of the graph, so that each sees what those before it still do wrong;
it costs nothing at run time. Every second run says by how much, the others whether: a channel is
moved only where that lowers its error there too, and all stay as they were unless the noise of the
model's outputs falls.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D (empirical correction).
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.calibration.rows import Rows
from edgepack.graph.constants import Array, add_constant, constant
from edgepack.graph.copying import private_copy
from edgepack.graph.names import name_apart

Replay = Callable[[ir.Model, tuple[str, ...]], Mapping[str, tuple[Rows, ...]]]
"""Gives tensors of a model as rows, one array per run, always of the same runs."""

Means = npt.NDArray[np.float64]

_LARGEST = 1 << 30
"""Code of an int32 bias: half the type is left to the products, see ``scales.least_scales``."""


def correct(model: ir.Model, reference: ir.Model, replay: Replay) -> str:
    """Correct the biases of the integer layers of ``model``; return what was done, a sentence.

    Args:
        model: With Q/DQ pairs written; edited in place.
        reference: The float model that it stands for; its nodes have the same names.
        replay: Runs either on a few calibration samples.
    """
    name_apart(model)  # as copies are read back
    known = {node.name for node in reference.graph}
    layers = [node for node in model.graph if _takes_codes(node) and node.name in known]
    want = _means(reference, layers, replay) if layers else {}
    if min(map(len, want.values()), default=0) < 2:
        return ""  # there is nothing to correct, or no run to keep out
    noise, moved = _Noise(reference, replay), 0
    before, holders = noise.of(model), [_holder(node) for node in layers]
    old = [holder.inputs[index] for holder, index in holders]
    for node in layers:
        name = str(node.name)
        wrong = _means(model, [node], replay)[name] - want[name]
        moved += _shift(model.graph, node, _agreed(wrong))
    after = noise.of(model) if moved else before
    if after < before:
        gain = 10 * np.log10(before / max(after, float(np.finfo(np.float64).tiny)))
        return f"biases of {moved} channels corrected: {gain:.1f} dB less noise on runs kept out"
    for (holder, index), value in zip(holders, old, strict=True):
        holder.replace_input_with(index, value)
    return ""


class _Noise:
    """The error of the outputs over their power, on the runs that no correction was fitted to."""

    def __init__(self, reference: ir.Model, replay: Replay) -> None:
        self._replay = replay
        self._want = self._held(reference)

    def of(self, model: ir.Model) -> float:
        """Return the noise, summed over outputs."""
        total = 0.0
        for want, got in zip(self._want, self._held(model), strict=True):
            power = float(np.square(want).sum()) or 1.0
            total += float(np.square(got - want).sum()) / power
        return total

    def _held(self, model: ir.Model) -> list[Means]:
        """Return the real outputs of every second run, each as one long row."""
        draft, names = private_copy(model), []
        for out in list(draft.graph.outputs):
            if out.dtype == ir.DataType.FLOAT and out.producer() is not None:
                name = f"edgepack.row.{out.name}"
                shape = add_constant(draft.graph, f"{name}.shape", np.array([1, -1], np.int64))
                names.append(_append(draft.graph, name, ir.node("Reshape", [out, shape])))
        found = self._replay(draft, tuple(names))
        return [np.concatenate(found[name][1::2], axis=1).astype(np.float64) for name in names]


def _takes_codes(node: ir.Node) -> bool:
    """Whether a node multiplies by integer weights and adds a constant bias."""
    if node.op_type not in {"Conv", "Gemm"} or len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    restore = None if node.inputs[1] is None else node.inputs[1].producer()
    return restore is not None and restore.op_type == "DequantizeLinear"


def _means(model: ir.Model, layers: list[ir.Node], replay: Replay) -> dict[str, Means]:
    """Return the mean of each channel that layers make, ``[runs, channels]``, by their names."""
    draft, names = private_copy(model), {str(node.name) for node in layers}
    probes = {str(n.name): _probe(draft.graph, n) for n in list(draft.graph) if n.name in names}
    found = replay(draft, tuple(probes.values()))
    return {
        name: np.array([run.mean(axis=0, dtype=np.float64) for run in found[probe]])
        for name, probe in probes.items()
    }


def _probe(graph: ir.Graph, node: ir.Node) -> str:
    """Let a graph tell the mean of each channel of a layer; return the name of that tensor."""
    value, name = node.outputs[0], f"edgepack.mean.{node.name}"
    steps = []
    if node.op_type == "Gemm":  # its rows become the places of a picture
        shape = np.array([1, _constant_bias(node).size, -1], np.int64)
        steps = [ir.node("Transpose", [value], {"perm": [1, 0]})]
        steps.append(ir.node("Reshape", [steps[0].outputs[0], add_constant(graph, name, shape)]))
        value = steps[1].outputs[0]
    pool = ir.node("GlobalAveragePool", [value])
    graph.extend([*steps, pool])
    return _append(graph, f"{name}.flat", ir.node("Flatten", [pool.outputs[0]]))


def _append(graph: ir.Graph, name: str, node: ir.Node) -> str:
    """Let a node be the last, and its output be called ``name``."""
    graph.append(node)
    node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(ir.DataType.FLOAT)
    return name


def _holder(node: ir.Node) -> tuple[ir.Node, int]:
    """Return the node that reads the constant bias of a layer, and where it does."""
    value = node.inputs[2]
    restore = None if value is None else value.producer()
    return (node, 2) if restore is None else (restore, 0)


def _constant_bias(node: ir.Node) -> Array:
    """Return the bias of a layer, in float or as codes."""
    holder, index = _holder(node)
    array = constant(holder.inputs[index])
    assert array is not None, "a layer that computes on integers has a constant bias"
    return array


def _agreed(wrong: Means) -> Means:
    """Return what to add to each channel: every second run says what, the others whether."""
    fitted, held = wrong[::2].mean(axis=0), wrong[1::2].mean(axis=0)
    # the squared error of the mean there falls by held^2 - (held - fitted)^2
    return np.where(fitted * (2 * held - fitted) > 0, -fitted, 0.0)


def _shift(graph: ir.Graph, node: ir.Node, amounts: Means) -> int:
    """Add to the bias of a layer and return the number of channels that changed."""
    (holder, index), bias = _holder(node), _constant_bias(node)
    if holder is node:
        moved = (bias.reshape(-1) + amounts).astype(np.float32)
    else:
        scale = constant(holder.inputs[1])
        assert scale is not None
        codes = bias + np.rint(amounts / scale.astype(np.float64))
        moved = np.where(np.abs(codes) <= _LARGEST, codes, bias).astype(np.int32)
    name = f"{node.name}.bias.corrected"
    holder.replace_input_with(index, add_constant(graph, name, moved))
    return int(np.count_nonzero(moved != bias.reshape(-1)))
