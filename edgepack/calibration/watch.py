"""A copy of a model whose inner tensors come out too, as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample

Outputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Watched:
    """An open session of the copy; ``names`` gives the output of each tensor."""

    session: Session
    names: dict[str, str]

    def tensors(self, outputs: Outputs) -> dict[str, npt.NDArray[np.float32]]:
        """Return what a run held in each watched tensor."""
        return {name: outputs[out].astype(np.float32) for name, out in self.names.items()}

    def run(self, sample: Sample) -> Outputs:
        """Run the copy once, for all its outputs."""
        return self.session.run(sample)


def watch(model: ir.Model, tensors: Sequence[str]) -> Watched:
    """Open a copy of ``model`` that gives ``tensors`` besides its own outputs.

    Args:
        model: Left as it is.
        tensors: Names of float tensors of the main graph, inputs among them.
    """
    draft = private_copy(model)
    values = {str(v.name): v for node in draft.graph for v in node.outputs}
    values |= {str(v.name): v for v in draft.graph.inputs}
    names = {}
    for index, name in enumerate(tensors):
        copy = ir.node("Identity", [values[name]])
        out = copy.outputs[0]
        names[name] = out.name = f"edgepack.watch.{index}"
        out.type, out.shape = ir.TensorType(ir.DataType.FLOAT), values[name].shape
        draft.graph.append(copy)
        draft.graph.outputs.append(out)
    return Watched(Session(to_bytes(draft), where="the calibration model"), names)
