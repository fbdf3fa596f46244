"""The model of a job as an ONNX graph, float unless it was quantized before."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgepack.base.errors import ModelError, RequestError, nearest
from edgepack.base.files import sha256
from edgepack.bundle.selfcontained import external
from edgepack.data.made_up import made_up
from edgepack.graph.census import signature
from edgepack.graph.read import Read, quantized_nodes, read
from edgepack.graph.shapes import fix_shapes
from edgepack.graph.write import to_bytes
from edgepack.intake.request import PROGRAMS, Job
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.signature import Signature

if TYPE_CHECKING:
    from edgepack.export import Exported
    from edgepack.export.source import Source as TorchSource


@dataclass(frozen=True, slots=True)
class Source:
    """A model, ready for passes.

    Attributes:
        model: The graph.
        signature: Its interface, with the carried state.
        sha256: Digest of the file the user gave, or of the exported graph.
        exporter: ``none``, ``dynamo`` or ``torchscript``.
        notes: Sentences for the user and the manifest.
        torch: The module it was exported from; None for files and programs.
        quantized: A node that shows that it was quantized before; empty for a float model.
    """

    model: ir.Model
    signature: Signature
    sha256: str
    exporter: str
    notes: tuple[str, ...]
    torch: "TorchSource | None" = None
    quantized: str = ""


def load(job: Job) -> Source:
    """Read or export the model of ``job``.

    Raises:
        ModelError: It cannot be read or exported.
    """
    name = job.request.model or ""
    source = _read(job, job.folder / name) if name.lower().endswith(".onnx") else _export(job, name)
    return replace(source, quantized=next(iter(quantized_nodes(source.model)), ""))


def _read(job: Job, path: Path) -> Source:
    found = read(path)
    fix_shapes(found.model, job.request.shape)
    face = _interface(found.model, job)
    if found.opset < found.model.graph.opset_imports.get("", 0):
        _check_upgrade(path, found, face)
    return Source(found.model, face, found.sha256, "none", found.notes)


def _check_upgrade(path: Path, found: Read, face: Signature) -> None:
    """Hold the converter to the outputs of the file as it was.

    Raises:
        ModelError: The upgraded model computes something else.
    """
    if external(path.read_bytes()):
        return  # the runtime would have to open files that only the reader has checked
    old = Session(path.read_bytes(), where=str(path))
    new = Session(to_bytes(found.model), where=str(path))
    for item in made_up(face):
        before, after = (run_sequence(s.run, item.samples, face)[0] for s in (old, new))
        if not all(np.allclose(before[k], after[k], rtol=1e-4, atol=1e-5) for k in before):
            raise ModelError(
                "E-OPSET",
                f"raising {str(path)!r} from opset {found.opset} changes its outputs",
                hint="export it again with opset 13 or newer",
            )


def _export(job: Job, name: str) -> Source:
    from edgepack.export import ExportRequest, Subject, export

    subject: Subject
    if name.lower().endswith(PROGRAMS):
        from edgepack.export.program import load_program

        subject, request = load_program(job.folder / name), ExportRequest()
    else:
        from edgepack.export.source import load_source
        from edgepack.export.weights import load_weights

        found = load_source(name, job.folder, job.request.shape or None)
        if job.weights is not None:
            load_weights(found.module, job.weights)
        return export_module(found, job)
    return _exported(export(subject, request), job)


def export_module(found: "TorchSource", job: Job) -> Source:
    """Export a module of the user, or what compression made of it.

    Raises:
        ModelError: It cannot be exported.
    """
    from edgepack.export import ExportRequest, export

    if job.dynamic or job.state:
        exported = export(found.module, ExportRequest(found.example, dynamic=job.dynamic))
    else:
        exported = _with_open_batch(found)
    return replace(_exported(exported, job), torch=found)


def _with_open_batch(found: "TorchSource") -> "Exported":
    """Export with an open batch where the module has one, else with the example's sizes."""
    from edgepack.export import ExportRequest, export
    from edgepack.export.interface import bind

    face = bind(found.module, found.example)
    sizes = {tensor.shape[:1] for tensor in face.example}
    fixed = ExportRequest(found.example)
    if len(sizes) != 1 or sizes == {()}:
        return export(found.module, fixed)
    try:
        dynamic = dict.fromkeys(face.names, ("batch",))
        return export(found.module, ExportRequest(found.example, dynamic=dynamic))
    except (ModelError, RequestError) as error:
        exported = export(found.module, fixed)
        note = f"the batch is fixed to {next(iter(sizes))[0]}: {error}"
        return replace(exported, notes=(*exported.notes, note))


def _exported(exported: "Exported", job: Job) -> Source:
    verified = exported.verified
    notes = [
        *exported.notes,
        (
            f"exported by {exported.exporter}, compared with torch on {verified.n} inputs: "
            f"largest relative difference {verified.worst_relative:.1e}"
        ),
    ]
    if exported.reason:
        notes.append(f"the older exporter was used: {exported.reason}")
    return Source(
        exported.model,
        _interface(exported.model, job),
        sha256(to_bytes(exported.model)),
        exported.exporter,
        tuple(notes),
    )


def _interface(model: ir.Model, job: Job) -> Signature:
    """Return the interface, checked against the state that the project declares."""
    found = signature(model)
    for side, names, known in (
        ("output", job.state.keys(), [spec.name for spec in found.outputs]),
        ("input", job.state.values(), [spec.name for spec in found.inputs]),
    ):
        for name in names:
            if name not in known:
                raise RequestError(
                    "E-STATE", f"state names no {side} {name!r}", hint=nearest(name, known)
                )
    return signature(model, job.state)
