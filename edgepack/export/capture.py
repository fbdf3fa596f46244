"""The two exporters of torch, each to plain ONNX bytes."""

import io
from dataclasses import dataclass

import onnx
import torch

from edgepack.base.errors import ModelError
from edgepack.export.faults import control_flow, of_torch, quiet, shown
from edgepack.export.interface import Axes, Interface, Subject, named_outputs

_BRANCH = "Converting a tensor to a Python boolean"


@dataclass(frozen=True, slots=True)
class Task:
    """What either exporter is asked for.

    Attributes:
        subject: The module, or a program that was exported before.
        interface: How to call it.
        outputs: Names of the outputs.
        axes: Dynamic axes, one entry per input and then one per output.
        opset: The opset asked for.
    """

    subject: Subject
    interface: Interface
    outputs: tuple[str, ...]
    axes: tuple[Axes, ...]
    opset: int


@dataclass(frozen=True, slots=True)
class Captured:
    """A model as an exporter wrote it.

    Attributes:
        data: The bytes of an ONNX model.
        program: The torch program it was translated from, node by node; None from TorchScript.
    """

    data: bytes
    program: torch.export.ExportedProgram | None


def dynamo(task: Task) -> Captured:
    """Export with ``torch.export`` and its translation to ONNX.

    Raises:
        ModelError: Another opset was delivered, or a dynamic axis became a fixed one.
        Exception: Whatever torch raises, see ``faults.RAISED``.
    """
    interface = task.interface
    args, kwargs = interface.arguments(interface.example)
    axes = task.axes[: len(interface.names)]
    with quiet():
        exported = torch.onnx.export(
            task.subject,
            args,
            kwargs=kwargs,
            dynamo=True,
            input_names=list(interface.names),
            output_names=list(task.outputs),
            opset_version=task.opset,
            dynamic_shapes=interface.shaped([dict(a) or None for a in axes]) if any(axes) else None,
            external_data=False,
            verbose=False,
            optimize=True,
        )
        assert exported is not None
        model: onnx.ModelProto = exported.model_proto
    return Captured(_checked(model, task), exported.exported_program)


def torchscript(task: Task) -> Captured:
    """Export by tracing, with torch's older exporter.

    Raises:
        ModelError: The trace took a branch that depends on values, or the opset differs. Branches
            inside torch's own layers may be taken (is this mask causal?): the comparison with
            torch tells whether they mattered.
        Exception: Whatever torch raises, see ``faults.RAISED``.
    """
    interface, target = task.interface, io.BytesIO()
    names = (*interface.names, *task.outputs)
    with quiet() as caught:
        torch.onnx.export(
            interface.module if interface.is_flat else _Flat(interface),
            interface.example,
            target,  # type: ignore[arg-type]  # the annotation forgets buffers
            dynamo=False,
            input_names=list(interface.names),
            output_names=list(task.outputs),
            opset_version=task.opset,
            dynamic_axes={name: dict(axes) for name, axes in zip(names, task.axes, strict=True)},
        )
    for warning in caught:
        branch = warning.category.__name__ == "TracerWarning" and _BRANCH in str(warning.message)
        if branch and not of_torch(warning.filename):
            raise control_flow(f"{shown(warning.filename)}:{warning.lineno}")
    return Captured(_checked(onnx.ModelProto.FromString(target.getvalue()), task), None)


class _Flat(torch.nn.Module):
    """A module of tensors in order, for a tracer that knows no dictionaries."""

    def __init__(self, interface: Interface) -> None:
        super().__init__()
        self.inner = interface.module
        self.training = False
        self._interface = interface

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(named_outputs(self._interface.call(tensors)).values())


def _checked(model: onnx.ModelProto, task: Task) -> bytes:
    """Return the bytes of a model that has the opset and the interface asked for."""
    delivered = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    if delivered != task.opset:
        raise ModelError(
            "E-OPSET",
            f"asked for opset {task.opset}, the exporter delivered {delivered}",
            hint="ask for opset 18, which both exporters deliver",
        )
    names = [value.name for value in model.graph.output]
    if names != list(task.outputs):
        raise ModelError("E-EXPORT", f"the exporter made outputs {names}, not {list(task.outputs)}")
    _name_sizes(model.graph, task)
    return bytes(model.SerializeToString(deterministic=True))


def _name_sizes(graph: onnx.GraphProto, task: Task) -> None:
    """Write the true shapes of inputs and outputs, and drop what was guessed about the inside.

    A dynamic axis of size 1 in the example was seen to come out as 1 in outputs and inner shapes
    while the graph itself computed any size (an LSTM, torch 2.13).
    """
    del graph.value_info[:]
    wanted = dict(zip((*task.interface.names, *task.outputs), task.axes, strict=True))
    renamed: dict[str, str] = {}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, name in wanted[value.name].items():
            if not dims[axis].dim_param:
                raise ModelError("E-EXPORT", f"dimension {name!r} of {value.name!r} became fixed")
            renamed.setdefault(dims[axis].dim_param, name)
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if name := wanted[value.name].get(axis, renamed.get(dim.dim_param, "")):
                dim.dim_param = name
