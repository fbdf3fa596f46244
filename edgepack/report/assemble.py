"""Put together what ships: golden samples, manifest, bundle, report."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec
import numpy as np

from edgepack.bundle.golden import Golden
from edgepack.bundle.golden import encode as encode_golden
from edgepack.bundle.pack import pack
from edgepack.gate.candidates import Rewritten
from edgepack.gate.choose import Chosen
from edgepack.gate.execution import Observed
from edgepack.gate.tolerance import tolerances
from edgepack.graph.precision import precisions
from edgepack.report.record import FORMAT, Report, Speed
from edgepack.runtime import machine
from edgepack.spec import manifest as spec

_VERSIONS = ("edgepack", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an artifact comes from.

    Attributes:
        name: First part of the file name.
        model_sha256: Of what the user gave.
        calibration_sha256: Of all calibration data.
        evaluation_sha256: Of the evaluation data.
        exporter: ``none``, ``dynamo`` or ``torchscript``.
        notes: Sentences about model and data.
    """

    name: str
    model_sha256: str
    calibration_sha256: str
    evaluation_sha256: str
    exporter: str
    notes: tuple[str, ...]


def bundle(
    origin: Origin, rewritten: Rewritten, chosen: Chosen, observed: Observed, golden: Golden
) -> tuple[bytes, spec.Manifest]:
    """Return the bytes of the bundle and its manifest."""
    manifest = _manifest(origin, rewritten, chosen, observed, golden)
    members = {"model.onnx": chosen.candidate.data, "golden.npz": encode_golden(golden)}
    data = pack(manifest, members)
    return data, manifest


def _manifest(
    origin: Origin, rewritten: Rewritten, chosen: Chosen, observed: Observed, golden: Golden
) -> spec.Manifest:
    target, candidate = rewritten.plan.target, chosen.candidate
    signature = rewritten.signature
    allowed = tolerances(candidate.model, golden.outputs, observed.spread)
    return spec.Manifest(
        format="edgepack/1",
        name=origin.name,
        target=msgspec.to_builtins(target),
        runtime=msgspec.structs.replace(
            spec.runtime_of(target),
            opset=candidate.model.graph.opset_imports.get("", 0),
            ir_version=min(candidate.model.ir_version, target.max_ir),
        ),
        inputs=signature.inputs,
        outputs=signature.outputs,
        state=signature.state,
        files={},
        accuracy=chosen.judged.accuracy,
        fidelity=chosen.judged.fidelity,
        executed=observed.executed,
        cost=observed.cost,
        size=spec.Size(len(rewritten.float_.data), len(candidate.data)),
        precision=spec.Precision(precisions(candidate.model), candidate.left),
        lineage=_lineage(origin, rewritten, chosen),
        golden=spec.Golden(golden.n, allowed),
    )


def _lineage(origin: Origin, rewritten: Rewritten, chosen: Chosen) -> spec.Lineage:
    names = (*_VERSIONS, "torch") if origin.exporter != "none" else _VERSIONS
    return spec.Lineage(
        model_sha256=origin.model_sha256,
        calibration_sha256=origin.calibration_sha256,
        evaluation_sha256=origin.evaluation_sha256,
        recipe=rewritten.plan.recipe.name,
        target_origin=rewritten.plan.target.origin,
        exporter=origin.exporter,
        steps=chosen.candidate.steps,
        versions={name: _version(name) for name in names},
        notes=origin.notes,
    )


def report(digest: str, chosen: Chosen, observed: Observed, seconds: dict[str, float]) -> Report:
    """Return what goes beside the bundle with that digest."""
    found = chosen.comparison
    speed = None
    if found is not None:
        speed = Speed(
            found.ratio,
            found.interval,
            found.verdict,
            found.clock,
            found.threads,
            found.log_ratios,
        )
    here = machine.here()
    facts = {
        "arch": here.arch,
        "cores": here.cores,
        "libc": here.libc,
        "features": sorted(here.features or ()),
        "onnxruntime": here.onnxruntime,
        "numpy": np.__version__,
    }
    return Report(
        FORMAT,
        digest,
        chosen.candidate.name,
        chosen.sentences,
        speed,
        observed.executed,
        observed.cost,
        observed.spread,
        facts,
        seconds,
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
