"""The model of a job after the ``[[compress]]`` steps of a plan, exported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgepack.base.errors import MachineError, ModelError
from edgepack.base.files import sha256
from edgepack.data.samples import Dataset
from edgepack.gate.candidates import Smaller, Written, write_static
from edgepack.graph.write import to_bytes
from edgepack.intake.clock import Watch, asks_clock, price
from edgepack.intake.data import Data
from edgepack.intake.request import Job
from edgepack.intake.source import Source, export_module
from edgepack.plan import Bound, Plan
from edgepack.runtime.emulation import default_cache
from edgepack.spec import decision
from edgepack.spec.decision import Removed
from edgepack.spec.manifest import StepRecord
from edgepack.spec.step import Skip

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.compress import Context
    from edgepack.export.source import Source as TorchSource


@dataclass(frozen=True, slots=True)
class Compressed:
    """A smaller module as a float graph.

    Attributes:
        source: The graph, with the interface of the original.
        made: The same with what each step was given and did, or why it did not run.
        notes: What was done, as sentences.
        decided: What a clock led to, by step.
    """

    source: Source
    made: Smaller
    notes: tuple[str, ...]
    decided: Mapping[str, Removed]


class Compressor:
    """Compresses once per list of fitted steps: targets whose plans agree share the training."""

    def __init__(
        self,
        job: Job,
        source: Source,
        data: Data,
        tell: Callable[[str], None],
        replayed: Mapping[str, Removed] | None = None,
    ) -> None:
        """Prepare to compress the module of ``source``; nothing is trained yet.

        Args:
            job: What was asked for.
            source: Holds the module.
            data: Holds what is trained on.
            tell: Takes each sentence of progress.
            replayed: What a clock led to in the build that is replayed.
        """
        self._job, self._source, self._data, self._tell = job, source, data, tell
        self._replayed = replayed
        self._done: dict[str, Compressed] = {}

    def compress(self, plan: Plan) -> Compressed | None:
        """Return what the plan makes of the module; None where it has no step that runs.

        Raises:
            EdgepackError: A step cannot run on this module, or its training failed.
        """
        if all(isinstance(bound.step, Skip) for bound in plan.compress):
            return None
        looks = asks_clock(plan) or _asks_target(plan)
        key = _key(plan.compress, self._around(plan) if looks else "")
        if key not in self._done:
            again = "" if self._replayed is None else msgspec.json.encode(self._replayed).decode()
            origin = f"{self._origin()} {self._teachers(plan)} {key} {again}"
            self._done[key] = self._run(plan, sha256(origin.encode()))
        return self._done[key]

    def _around(self, plan: Plan) -> str:
        """Name what a step that asks its target may look at: facts, graph steps, calibration."""
        facts = msgspec.json.encode(plan.target, order="deterministic").decode()
        data = f"{self._data.calibration_sha256} {bool(self._data.evaluation_sha256)}"
        return f"{facts} {_key(plan.graph, '')} {data}"

    def _origin(self) -> str:
        """Name everything besides the steps that decides what training gives."""
        loss = self._job.request.loss or ""
        body = _code(loss, self._job.data_folders["loss"])
        versions = " ".join(version(name) for name in ("edgepack", "torch", "torch-pruning"))
        return f"{self._source.sha256} {self._data.training_sha256} {loss} {body} {versions}"

    def _teachers(self, plan: Plan) -> str:
        """Name the code of the teachers: a recipe only says where it lies."""
        refs = [getattr(bound.step, "teacher", None) for bound in plan.compress]
        return " ".join(_code(ref, self._job.folder) for ref in refs if ref)

    def _run(self, plan: Plan, digest: str) -> Compressed:
        from edgepack.compress import apply, private_copy
        from edgepack.export.source import Source as TorchSource

        found = self._source.torch
        assert found is not None, "checked before any work: compression needs the module"
        module, records, notes = private_copy(found.module), list[StepRecord](), list[str]()
        folder = default_cache() / "training" / digest[:24]
        decided: dict[str, Removed] = {}
        writer = _Write(plan, self._job, found.example, self._data.calibration)
        for index, bound in enumerate(plan.compress):
            if isinstance(bound.step, Skip):
                records.append(StepRecord(bound.use, skipped=bound.step.reason))
                continue
            name = f"{index}-{bound.use}"
            context = self._context(plan, found, folder / f"{name}.safetensors")
            context = replace(context, write=writer)
            if known := (self._replayed or {}).get(name):
                decision.write(context.decision, known)
            module, record, said = apply(bound.step, bound.use, module, context)
            records.append(record)
            if found_by_clock := decision.read(context.decision):
                decided[name] = found_by_clock
            for sentence in said:
                self._tell(f"{bound.use}: {sentence}")
                notes.append(f"{bound.use}: {sentence}")
        if writer.result is not None:
            source, made = writer.trained(module, tuple(records))
        else:
            self._tell("exporting the compressed module")
            source = export_module(TorchSource(module, found.example), self._job)
            made = Smaller(source.model, tuple(records))
        _check_interface(self._source, source)
        return Compressed(source, made, tuple(notes), decided)

    def _context(self, plan: Plan, found: "TorchSource", checkpoint: Path) -> "Context":
        from edgepack.compress import Context, private_copy
        from edgepack.training.losses import load

        job = self._job
        measures = asks_clock(plan) and self._replayed is None
        teacher = private_copy(found.module)
        for parameter in teacher.parameters():
            parameter.requires_grad = False
        return Context(
            target=plan.target,
            example=found.example,
            training=self._data.training,
            loss=load(job.request.loss, job.data_folders["loss"]),
            metric=job.metric if job.request.metric else None,
            teacher=teacher,
            folder=job.folder,
            checkpoint=checkpoint,
            tell=self._tell,
            clock=Watch(job, found.example, price(plan, job.request.on)) if measures else None,
        )


class _Write:
    """Exports a module for a step that trains what ``quantize_static`` writes."""

    def __init__(self, plan: Plan, job: Job, example: object, calibration: Dataset | None) -> None:
        """Bind a plan that quantizes statically to the data that ranges are measured on."""
        self._plan, self._job, self._example = plan, job, example
        self._calibration = calibration
        self.result: tuple[Source, Written] | None = None

    def __call__(self, module: Any) -> "tuple[ir.Model, ir.Model]":
        """Return the float graph of ``module`` before and after ``quantize_static``."""
        from edgepack.export.source import Source as TorchSource

        assert self._calibration is not None, "checked before any work"
        source = export_module(TorchSource(module, self._example), self._job)
        signature = source.signature
        found = write_static(self._plan, source.model, signature, self._calibration)
        self.result = source, found
        return found.model, found.written

    def trained(self, module: Any, records: tuple[StepRecord, ...]) -> tuple[Source, Smaller]:
        """Return the graph with the weights and the scales that ``module`` learned."""
        from edgepack.training.twin import RoundedTwin

        assert self.result is not None
        assert isinstance(module, RoundedTwin), "the step that writes is the last"
        source, written = self.result
        model = module.model()
        source = replace(source, model=model, sha256=sha256(to_bytes(model)))
        return source, Smaller(model, records, written.done, module.learned())


def helps_only() -> bool:
    """Whether this process was launched to train beside another one, which builds."""
    import os

    try:
        return int(os.environ.get("RANK", "0")) > 0
    except ValueError as error:
        raise MachineError("E-LAUNCH", "RANK is no number", hint="accelerate launch") from error


def _code(ref: str, folder: Path) -> str:
    """Return the digest of the file that ``ref`` names; empty where it names no file."""
    file = folder / ref.rpartition(":")[0]
    return sha256(file.read_bytes()) if file.is_file() else ""


def _asks_target(plan: Plan) -> bool:
    """Whether a step looks at the target while it runs, not only when it is fitted."""
    return any(getattr(bound.step, "asks_target", False) for bound in plan.compress)


def _key(bounds: tuple[Bound, ...], target: str) -> str:
    steps = [
        {"use": bound.use, **msgspec.to_builtins(bound.step)}
        for bound in bounds
        if not isinstance(bound.step, Skip)
    ]
    return sha256(msgspec.json.encode([target, steps], order="deterministic"))


def _check_interface(before: Source, after: Source) -> None:
    """Hold compression to the interface of the module.

    Raises:
        ModelError: Inputs or outputs differ.
    """
    faces = [
        ([str(s) for s in x.signature.inputs], [str(s) for s in x.signature.outputs])
        for x in (before, after)
    ]
    if faces[0] != faces[1]:
        raise ModelError(
            "E-COMPRESS-INTERFACE",
            f"compression changed the interface from {faces[0]} to {faces[1]}",
            hint="exclude the layers that make the outputs",
        )
