"""torch to ONNX: exported, stripped, and compared with torch before anyone else sees it.

The one room besides ``compress`` that imports torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import onnx_ir as ir
import torch

from edgepack.base.errors import ModelError, RequestError
from edgepack.export import axes, capture, faults
from edgepack.export.capture import Captured, Task
from edgepack.export.cases import Case, make_cases
from edgepack.export.interface import Interface, Subject, bind, bind_program
from edgepack.export.verify import Reference, Verified, verify
from edgepack.graph.limits import FILE_BYTES
from edgepack.graph.read import parse

__all__ = ["ExportRequest", "Exported", "Subject", "Verified", "export"]

_RANDOM = ("RandomNormal", "RandomUniform", "Bernoulli", "Multinomial")
_RETRIED = ("E-OPSET", "E-EXPORT", "E-MODEL-LOAD", "E-MODEL-CORRUPT", "E-GRAPH", "E-OP-UNKNOWN")
"""Faults of the first exporter and not of the module: the second may do better."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        example: A tensor, a tuple in the order of forward's parameters, or a dict by their names;
            a program brings its own.
        opset: The opset to deliver, exactly.
        dynamic: Input -> a name per leading axis, None or "" where the axis is fixed; axes of
            one name have one size. A program brings its own.
        outputs: Names of the outputs; empty for the keys of a dict, or output, output_1, ...
    """

    example: object = None
    opset: int = 18
    dynamic: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was compared with torch.

    Attributes:
        model: Normalized, self-contained, without a trace of the user's source.
        exporter: Which of torch's exporters made it.
        reason: Why the fallback was used; empty for dynamo.
        verified: How close it is to torch.
        notes: What was changed on the way, as sentences.
    """

    model: ir.Model
    exporter: Literal["dynamo", "torchscript"]
    reason: str
    verified: Verified
    notes: tuple[str, ...]


def export(subject: Subject, request: ExportRequest) -> Exported:
    """Export a torch module, or a program of ``torch.export``, to ONNX and verify it.

    The module is put in eval mode for the time of the call. ``torch.export`` is tried first, then
    tracing; the result is compared with torch on inputs it was not traced with.

    Raises:
        RequestError: ``dynamic`` or ``outputs`` do not fit the module.
        ModelError: The module cannot be exported, or the export computes something else.
    """
    if isinstance(subject, torch.export.ExportedProgram):
        interface, inputs = bind_program(subject), axes.declared(subject)
    else:
        interface = bind(subject, request.example)
        inputs = axes.requested(interface, request.dynamic)
    _refuse(subject, interface.module)
    with faults.evaluating(interface.module) as was_training:
        cases = _named(make_cases(interface, inputs), request.outputs)
        outputs = tuple(cases[0].expected)
        task = Task(subject, interface, outputs, (*inputs, *axes.followed(cases)), request.opset)
        exported = _export(task, cases)
    if was_training and interface.module is subject:
        told = "the module was in training mode; it was exported in eval mode"
        return replace(exported, notes=(told, *exported.notes))
    return exported


def _refuse(subject: Subject, module: torch.nn.Module) -> None:
    faults.refuse_quantized(module)
    if isinstance(subject, torch.export.ExportedProgram):
        faults.refuse_quantized_program(subject)
    size = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
    if size > FILE_BYTES:
        raise ModelError("E-TOO-BIG", f"the module holds {size} bytes, an ONNX file {FILE_BYTES}")


def _named(cases: Sequence[Case], names: tuple[str, ...]) -> tuple[Case, ...]:
    """Give the outputs the names asked for."""
    if not names:
        return tuple(cases)
    if len(names) != len(cases[0].expected) or len(set(names)) != len(names):
        raise RequestError(
            "E-OUTPUTS", f"the output names {names} do not fit {tuple(cases[0].expected)}"
        )
    return tuple(
        replace(case, expected=dict(zip(names, case.expected.values(), strict=True)))
        for case in cases
    )


def _export(task: Task, cases: Sequence[Case]) -> Exported:
    """Try both exporters; the first model that the runtime accepts must agree with torch."""
    first: Exception
    try:
        return _verified(capture.dynamo(task), "dynamo", task.interface, cases)
    except ModelError as error:
        if error.code not in _RETRIED:
            raise
        first = error
    except faults.RAISED as error:
        first = error
    try:
        found = _verified(capture.torchscript(task), "torchscript", task.interface, cases)
    except (*faults.RAISED, ModelError) as error:
        raise _neither(first, error) from error
    return replace(found, reason=faults.reason(first))


def _neither(first: Exception, second: Exception) -> ModelError:
    """Choose what to tell when both exporters fail."""
    if faults.is_data_dependent(first):
        return faults.control_flow(faults.user_line(first))
    if isinstance(second, ModelError):
        return second
    if isinstance(first, ModelError):
        return first
    return ModelError(
        "E-EXPORT",
        f"torch cannot export this module: {faults.reason(first)} ({faults.user_line(first)})",
        hint=f"the older exporter says: {faults.reason(second)}",
    )


def _verified(
    captured: Captured,
    exporter: Literal["dynamo", "torchscript"],
    interface: Interface,
    cases: Sequence[Case],
) -> Exported:
    found = parse(captured.data, "the exported model")
    for node in found.model.graph.all_nodes():
        if node.op_type.startswith(_RANDOM):
            raise ModelError("E-RANDOM", f"node {node.name!r} ({node.op_type}) is random")
    verified = verify(found.model, Reference(interface, cases, captured.program))
    return Exported(found.model, exporter, "", verified, found.notes)
