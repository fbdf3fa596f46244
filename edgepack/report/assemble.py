"""Put together what ships: golden samples, manifest, bundle, report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

import msgspec
import numpy as np

from edgepack.bundle.golden import Golden
from edgepack.bundle.golden import encode as encode_golden
from edgepack.bundle.pack import pack
from edgepack.gate.candidates import Rewritten
from edgepack.gate.choose import Chosen
from edgepack.gate.execution import Observed
from edgepack.gate.speed import Comparison
from edgepack.gate.terms import Clocked
from edgepack.gate.tuned import Tuned
from edgepack.graph.precision import precisions
from edgepack.report.record import FORMAT, Report, Speed, Timed
from edgepack.runtime import machine
from edgepack.spec import manifest as spec
from edgepack.spec.decision import Removed

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
        training_sha256: Of the data that compression trained on, empty without.
        decided: What a clock led to while compressing, by step.
    """

    name: str
    model_sha256: str
    calibration_sha256: str
    evaluation_sha256: str
    exporter: str
    notes: tuple[str, ...]
    training_sha256: str = ""
    decided: Mapping[str, Removed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle is made of.

    Attributes:
        origin: Where the artifact comes from.
        rewritten: The candidates.
        chosen: The one that ships.
        observed: What ran on the target's kernels.
        golden: The self-test.
        tolerance: Of each of its outputs.
        tuned: What was found about session options, None where nobody asked.
        extras: Other members: how raw input becomes a sample, the operators of the model.
        tuned: What was found about session options, None where nobody asked.
    """

    origin: Origin
    rewritten: Rewritten
    chosen: Chosen
    observed: Observed
    golden: Golden
    tolerance: dict[str, float]
    tuned: Tuned | None = None
    extras: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found and decided, in order."""
        return (*self.chosen.sentences, *([self.tuned.sentence] if self.tuned else []))


def bundle(parts: Parts) -> tuple[bytes, spec.Manifest]:
    """Return the bytes of the bundle and its manifest."""
    manifest = _manifest(parts)
    model = parts.chosen.candidate.data
    members = {"model.onnx": model, "golden.npz": encode_golden(parts.golden), **parts.extras}
    return pack(manifest, members), manifest


def _manifest(parts: Parts) -> spec.Manifest:
    target, chosen = parts.rewritten.plan.target, parts.chosen
    candidate, signature = chosen.candidate, parts.rewritten.signature
    runtime = spec.runtime_of(target)
    return spec.Manifest(
        format="edgepack/1",
        name=parts.origin.name,
        target=msgspec.to_builtins(target),
        runtime=msgspec.structs.replace(
            runtime,
            opset=candidate.model.graph.opset_imports.get("", 0),
            ir_version=min(candidate.model.ir_version, target.max_ir),
            session=(parts.tuned.session if parts.tuned else None) or runtime.session,
        ),
        inputs=signature.inputs,
        outputs=signature.outputs,
        state=signature.state,
        files={},
        accuracy=chosen.judged.accuracy,
        fidelity=chosen.judged.fidelity,
        executed=parts.observed.executed,
        cost=parts.observed.cost,
        size=spec.Size(len(parts.rewritten.float_.data), len(candidate.data)),
        precision=spec.Precision(precisions(candidate.model), candidate.left),
        lineage=_lineage(parts),
        golden=spec.Golden(parts.golden.n, parts.tolerance),
    )


def _lineage(parts: Parts) -> spec.Lineage:
    origin, chosen = parts.origin, parts.chosen
    names = (*_VERSIONS, "torch") if origin.exporter != "none" else _VERSIONS
    return spec.Lineage(
        model_sha256=origin.model_sha256,
        calibration_sha256=origin.calibration_sha256,
        evaluation_sha256=origin.evaluation_sha256,
        recipe=parts.rewritten.plan.recipe.name,
        target_origin=parts.rewritten.plan.target.origin,
        exporter=origin.exporter,
        steps=chosen.candidate.steps,
        versions={name: _version(name) for name in names},
        notes=(*origin.notes, *chosen.refusals),
        training_sha256=origin.training_sha256,
    )


def report(digest: str, parts: Parts, barred: dict[str, str], seconds: dict[str, float]) -> Report:
    """Return what goes beside the bundle with that digest."""
    chosen, observed = parts.chosen, parts.observed
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
        format=FORMAT,
        bundle_sha256=digest,
        target=parts.rewritten.plan.target.name,
        choice=chosen.candidate.name,
        sentences=parts.sentences,
        timed={name: _timed(clocked) for name, clocked in chosen.clocked.items()},
        barred=barred,
        executed=observed.executed,
        cost=observed.cost,
        spread=observed.spread,
        machine=facts,
        seconds=seconds,
        decided=dict(parts.origin.decided),
        tuned=parts.tuned,
        mixed={name: dict(each) for name, each in chosen.mixed.items()},
    )


def _timed(clocked: Clocked) -> Timed:
    found = clocked.comparison
    return Timed(None if found is None else Speed(**asdict(found)), clocked.latency)


def clocked_in(report: Report) -> dict[str, Clocked]:
    """Return what a clock said in the build that made ``report``, by candidate."""
    return {
        name: Clocked(
            None if timed.speed is None else Comparison(**msgspec.structs.asdict(timed.speed)),
            timed.latency,
        )
        for name, timed in report.timed.items()
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
