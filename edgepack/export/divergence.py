"""Where an export goes wrong: the first ONNX node whose value differs from torch's."""

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch.export.graph_signature import TensorArgument

from edgepack.export.cases import Case
from edgepack.export.faults import quiet
from edgepack.export.interface import Interface
from edgepack.export.tolerance import Array, array, deviation
from edgepack.graph.copying import private_copy
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Options, Session


class _Recorder(torch.fx.Interpreter):
    """Runs a torch program and keeps every tensor under the name of its node."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module)
        self.seen: dict[str, Array] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, torch.Tensor):
            self.seen[n.name] = array(found)
        return found


def first_divergence(
    model: ir.Model, program: torch.export.ExportedProgram, interface: Interface, case: Case
) -> str:
    """Name the first node, in the order of the graph, whose output is not torch's.

    The exporter names a value after the torch node it stands for; values that optimization
    introduced, and those of another shape, have no counterpart and are passed over.

    Returns:
        ``node 'conv_3' (Conv)``, or an empty string where all that can be compared agrees.
    """
    recorder = _Recorder(program)
    with quiet(), torch.no_grad():
        recorder.run(*_fed(program, [tensor.clone() for tensor in case.inputs]))
    draft = private_copy(model)
    tapped = list(_taps(draft, recorder.seen))
    draft.graph.outputs.extend(value for _, value in tapped if not value.is_graph_output())
    session = Session(to_bytes(draft), Options(level="disable"), "the exported model")
    values = session.run(feed(interface, case, session))
    for node, value in tapped:
        expected, found = recorder.seen[value.name or ""], values[value.name or ""]
        if found.shape == expected.shape and not deviation(found, expected)[2]:
            return f"node {node.name!r} ({node.op_type})"
    return ""


def _taps(model: ir.Model, seen: dict[str, Array]) -> Iterator[tuple[ir.Node, ir.Value]]:
    for node in model.graph:
        for value in node.outputs:
            if value.name in seen and value.type is not None:
                yield node, value


def _fed(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> list[Any]:
    """Return one value per placeholder of the program: its weights, and ``inputs`` in order."""
    rest = iter(inputs)
    held = {**program.constants, **program.state_dict}
    found: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.target is not None:
            found.append(held[spec.target])
        elif isinstance(spec.arg, TensorArgument):
            found.append(next(rest))
        else:
            found.append(getattr(spec.arg, "value", None))
    return found


def feed(interface: Interface, case: Case, session: Session) -> dict[str, Array]:
    """Return the sample of a case; an exporter may have dropped inputs that nothing reads."""
    read = {spec.name for spec in session.inputs}
    pairs = zip(interface.names, case.inputs, strict=True)
    return {name: array(tensor) for name, tensor in pairs if name in read}
