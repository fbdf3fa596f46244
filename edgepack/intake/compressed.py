"""The model of a job after the ``[[compress]]`` steps of a plan, exported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgepack.base.errors import MachineError, ModelError
from edgepack.base.files import sha256
from edgepack.intake.clock import Watch, asks_target, price
from edgepack.intake.data import Data
from edgepack.intake.request import Job
from edgepack.intake.source import Source, export_module
from edgepack.plan import Bound, Plan
from edgepack.runtime.emulation import default_cache
from edgepack.spec.decision import Removed, read, write
from edgepack.spec.manifest import StepRecord
from edgepack.spec.step import Skip

if TYPE_CHECKING:
    from edgepack.compress import Context
    from edgepack.export.source import Source as TorchSource


@dataclass(frozen=True, slots=True)
class Compressed:
    """A smaller module as a float graph.

    Attributes:
        source: The graph, with the interface of the original.
        steps: What each step was given and did, or why it did not run.
        notes: What was done, as sentences.
        decided: What a clock led to, by step.
    """

    source: Source
    steps: tuple[StepRecord, ...]
    notes: tuple[str, ...]
    decided: Mapping[str, Removed]

    @property
    def sha256(self) -> str:
        """Digest of the exported graph."""
        return self.source.sha256


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
        key = _key(plan.compress, plan.target.name if asks_target(plan) else "")
        if key not in self._done:
            again = "" if self._replayed is None else msgspec.json.encode(self._replayed).decode()
            origin = f"{self._origin()} {self._teachers(plan)} {key} {again}"
            self._done[key] = self._run(plan, sha256(origin.encode()))
        return self._done[key]

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
        for index, bound in enumerate(plan.compress):
            if isinstance(bound.step, Skip):
                records.append(StepRecord(bound.use, skipped=bound.step.reason))
                continue
            name = f"{index}-{bound.use}"
            context = self._context(plan, found, folder / f"{name}.safetensors")
            if known := (self._replayed or {}).get(name):
                write(context.decision, known)
            module, record, said = apply(bound.step, bound.use, module, context)
            records.append(record)
            if found_by_clock := read(context.decision):
                decided[name] = found_by_clock
            for sentence in said:
                self._tell(f"{bound.use}: {sentence}")
                notes.append(f"{bound.use}: {sentence}")
        self._tell("exporting the compressed module")
        source = export_module(TorchSource(module, found.example), self._job)
        _check_interface(self._source, source)
        return Compressed(source, tuple(records), tuple(notes), decided)

    def _context(self, plan: Plan, found: "TorchSource", checkpoint: Path) -> "Context":
        from edgepack.compress import Context, private_copy
        from edgepack.training.losses import load

        job = self._job
        measures = asks_target(plan) and self._replayed is None
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
