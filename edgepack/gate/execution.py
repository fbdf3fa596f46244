"""What ran on the target's own kernels: golden samples, part of the evaluation, instruction counts.

Integer convolutions and products must be bit-equal to exact mode here; requantization after them
may differ by one code, and a deep net may make several of one: that is measured and never assumed.
What differs by as much as quantization itself costs is another result, and does not ship.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgepack import devices
from edgepack.base.distance import largest_difference
from edgepack.base.errors import MachineError
from edgepack.bundle.golden import Golden
from edgepack.data.fidelity import fidelity, holds_scores
from edgepack.data.samples import Dataset
from edgepack.devices import Counting, Device, Outputs
from edgepack.gate.evaluate import Scored
from edgepack.runtime import machine
from edgepack.spec.manifest import Cost, Execution, runtime_of
from edgepack.spec.signature import Sample, Signature
from edgepack.spec.target import Target

EVALUATION_SECONDS = 120.0
"""CPU seconds of emulation that the evaluation may take, per target."""

MOST_CODES = 4.0
"""Codes by which the target's kernels may always differ from exact mode here."""

LEAST_MARGIN_DB = 6.0
"""What the kernels add must stay below half the amplitude of what quantization itself costs. Seen:
48 dB against 18.5 in EfficientNet-Lite0 on Cortex-A53; a kernel that saturates costs as much as
quantization, or more."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is to be executed, with what exact mode here says of it.

    Attributes:
        shipped: The model that ships.
        float_: The float model, for its cost.
        signature: Of both.
        golden: Golden samples, complete with state, and outputs.
        scored: Outputs of the whole evaluation here.
        dataset: The evaluation data, None where they were made up.
    """

    shipped: bytes
    float_: bytes
    signature: Signature
    golden: Golden
    scored: Scored
    dataset: Dataset | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Executions and costs, one per device, and the spread of golden outputs over them."""

    executed: tuple[Execution, ...] = ()
    cost: tuple[Cost, ...] = ()
    spread: dict[str, float] = field(default_factory=dict)


def execute(artifact: Artifact, target: Target, on: Sequence[str] = ()) -> Observed:
    """Run ``artifact`` on each device that stands for ``target``; a missing emulator is a note.

    Args:
        artifact: What to run.
        target: Names the emulated CPUs; this machine counts too where it can run the target.
        on: Devices that the user asked for besides, by name.

    Raises:
        EdgepackError: A device that was asked for cannot run the artifact.
    """
    executed: list[Execution] = []
    costs: list[Cost] = []
    spread: dict[str, float] = {}
    for name in dict.fromkeys((*_standing_for(target), *on)):
        try:
            device = devices.open_device(name)
        except MachineError as error:
            if name in on:
                raise
            note = f"{name}: not executed: {error}; {error.hint}"
            executed.append(Execution("not executed", note=note))
            continue
        if devices.lacks(device, runtime_of(target)):
            continue  # checked before: some other target of this build runs there
        if reason := device.refuses(artifact.signature):
            executed.append(Execution("not executed", note=f"{name}: not executed: {reason}"))
            continue
        record, cost = _on_device(artifact, device, evaluate=not costs)
        executed.append(record)
        costs.extend(cost)
        for output, far in record.largest.items():
            spread[output] = max(spread.get(output, 0.0), far)
    if not executed:
        executed.append(Execution("not executed", note=_why_nowhere(target)))
    return Observed(tuple(executed), tuple(costs), spread)


def _standing_for(target: Target) -> tuple[str, ...]:
    ours = target.provider == "CPUExecutionProvider" and not machine.missing(runtime_of(target))
    here = ("local",) if ours else ()
    return (*(f"qemu:{cpu}" for cpu in target.emulate), *here)


def _why_nowhere(target: Target) -> str:
    if target.provider != "CPUExecutionProvider":
        reason = machine.missing(runtime_of(target)) or "its provider is here, but not driven yet"
        return f"not executed on a GPU: {reason}"
    return f"not executed: no device stands for {target.name} here"


def disagreement(observed: Observed, code: dict[str, float], cost_db: float | None) -> str:
    """Say where the target's kernels compute something else than exact mode here, or nothing.

    Args:
        observed: What ran where.
        code: What one code, or float rounding, changes in each output.
        cost_db: Signal to noise of exact mode here against the float model; None without noise.
    """
    for record in observed.executed:
        over = [k for k, far in record.largest.items() if far > MOST_CODES * code.get(k, 0.0)]
        quiet = cost_db is not None and (
            record.sqnr_db is None or record.sqnr_db >= cost_db + LEAST_MARGIN_DB
        )
        if over and not quiet:
            return (
                f"{over[0]!r} on {record.device} is up to {record.largest[over[0]]:.3g} from what "
                f"it is here, one code of the last quantized tensor is {code.get(over[0], 0.0):.3g}"
            )
    return ""


def _on_device(
    artifact: Artifact, device: Device, *, evaluate: bool
) -> tuple[Execution, tuple[Cost, ...]]:
    alone = Signature(artifact.signature.inputs, artifact.signature.outputs)
    samples = artifact.golden.samples
    there = [run[0] for run in device.run(artifact.shipped, alone, [[s] for s in samples])]
    here = [{k: v[i, ...] for k, v in artifact.golden.outputs.items()} for i in range(len(there))]
    cost: tuple[Cost, ...] = ()
    ran: Sequence[Outputs] = ()
    if isinstance(device, Counting):
        models = (artifact.float_, artifact.shipped)
        counts = [device.count(model, alone, samples[0]).total for model in models]
        cost = (Cost(device.name, *counts),)
        if evaluate:
            ran = _evaluate(artifact, device, device.affordable(counts[1], EVALUATION_SECONDS))
    elif artifact.dataset is not None:
        ran = _evaluate(artifact, device, len(artifact.scored.outputs))
    scored = artifact.scored.outputs[: len(ran)]
    pairs = [*zip(here, there, strict=True), *zip(scored, ran, strict=True)]
    record = Execution(
        device=device.name,
        runtime=device.runtime,
        golden=len(there),
        evaluated=len(ran),
        agreement=_agreement(scored, ran),
        largest=_largest(pairs),
        bit_equal=float(np.mean([_equal(a, b) for a, b in pairs])),
        sqnr_db=_noise(pairs, [spec.name for spec in artifact.signature.reported]),
    )
    return record, cost


def _evaluate(artifact: Artifact, device: Device, budget: int) -> list[Outputs]:
    """Run as many evaluation samples as ``budget`` allows, in order; a sequence may be cut."""
    if artifact.dataset is None:
        return []
    items: list[tuple[Sample, ...]] = []
    for item in artifact.dataset:
        room = budget - sum(map(len, items))
        if room <= 0:
            break
        items.append(item.samples[:room])
    if not items:
        return []
    reported = [spec.name for spec in artifact.signature.reported]
    runs = itertools.chain(*device.run(artifact.shipped, artifact.signature, items))
    return [{name: run[name] for name in reported} for run in runs]


def _largest(pairs: Sequence[tuple[Outputs, Outputs]]) -> dict[str, float]:
    """Return the largest difference per output over all samples that ran there."""
    far: dict[str, float] = {}
    for here, there in pairs:
        for name, want in here.items():
            far[name] = max(far.get(name, 0.0), largest_difference(want, there.get(name)))
    return far


def _noise(pairs: Sequence[tuple[Outputs, Outputs]], reported: Sequence[str]) -> float | None:
    """Return how far the reported outputs stand above their difference, in dB."""
    here, there = (
        [{k: run[k] for k in reported} for run in side] for side in zip(*pairs, strict=True)
    )
    return fidelity(here, there)[2]


def _equal(a: Outputs, b: Outputs) -> bool:
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a)


def _agreement(here: Sequence[Outputs], there: Sequence[Outputs]) -> float | None:
    """Return the fraction of samples with the same decision, None where there is no decision."""
    if not here or not holds_scores(here):
        return None
    name = next(iter(here[0]))
    same = (
        int(a[name].argmax()) == int(b[name].argmax()) for a, b in zip(here, there, strict=True)
    )
    return float(np.mean(list(same)))
