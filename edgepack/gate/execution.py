"""What ran on the target's own kernels: golden samples, part of the evaluation, instruction counts.

Integer convolutions and products must be bit-equal to exact mode here; requantization after them
may differ by one code, which is measured and never assumed.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepack import devices
from edgepack.base.errors import MachineError
from edgepack.bundle.golden import Golden
from edgepack.data.samples import Dataset
from edgepack.devices import Counting, Device, Outputs
from edgepack.gate.evaluate import Scored
from edgepack.spec.manifest import Cost, Execution
from edgepack.spec.signature import Signature
from edgepack.spec.target import Target

EVALUATION_SECONDS = 120.0
"""CPU seconds of emulation that the evaluation may take, per target."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is to be executed, with what exact mode here says of it.

    Attributes:
        shipped: The model that ships.
        float_: The float model, for its cost.
        signature: Of both.
        golden: Golden samples, complete with state, and outputs.
        scored: Outputs of the whole evaluation here, or None without evaluation data.
        dataset: The evaluation data.
    """

    shipped: bytes
    float_: bytes
    signature: Signature
    golden: Golden
    scored: Scored | None
    dataset: Dataset | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Executions and costs, one per emulated CPU, and the spread of golden outputs over them."""

    executed: tuple[Execution, ...]
    cost: tuple[Cost, ...]
    spread: dict[str, float]


def execute(artifact: Artifact, target: Target, on: Sequence[str] = ()) -> Observed:
    """Run ``artifact`` on each CPU that stands for ``target``; a missing emulator is a note.

    Args:
        artifact: What to run.
        target: Names the emulated CPUs.
        on: Devices that the user asked for besides, by name.

    Raises:
        EdgepackError: A device that was asked for cannot run the artifact.
    """
    wanted = dict.fromkeys([*(f"qemu:{cpu}" for cpu in target.emulate), *on])
    if not wanted:
        note = f"not executed: no emulator stands for {target.name}"
        return Observed((Execution("not executed", note=note),), (), {})
    executed: list[Execution] = []
    costs: list[Cost] = []
    spread: dict[str, float] = {}
    for index, name in enumerate(wanted):
        try:
            device = devices.open_device(name)
        except MachineError as error:
            if name in on:
                raise
            note = f"not executed on {target.arch}: {error}; {error.hint}"
            return Observed((Execution("not executed", note=note),), (), {})
        record, cost = _on_device(artifact, device, evaluate=index == 0)
        executed.append(record)
        costs.extend(cost)
        for output, far in record.largest.items():
            spread[output] = max(spread.get(output, 0.0), far)
    return Observed(tuple(executed), tuple(costs), spread)


def _on_device(
    artifact: Artifact, device: Device, *, evaluate: bool
) -> tuple[Execution, tuple[Cost, ...]]:
    alone = Signature(artifact.signature.inputs, artifact.signature.outputs)
    samples = artifact.golden.samples
    there = [run[0] for run in device.run(artifact.shipped, alone, [[s] for s in samples])]
    here = [{k: v[i] for k, v in artifact.golden.outputs.items()} for i in range(len(there))]
    cost: tuple[Cost, ...] = ()
    ran: Sequence[Outputs] = ()
    if isinstance(device, Counting):
        counts = [
            device.count(model, alone, samples[0]).total
            for model in (artifact.float_, artifact.shipped)
        ]
        cost = (Cost(device.name, *counts),)
        if evaluate:
            ran = _evaluation(artifact, device, counts[1])
    scored = () if artifact.scored is None else artifact.scored.outputs[: len(ran)]
    pairs = [*zip(here, there, strict=True), *zip(scored, ran, strict=True)]
    record = Execution(
        device=device.name,
        runtime=device.runtime,
        golden=len(there),
        evaluated=len(ran),
        agreement=_agreement(scored, ran, artifact.signature),
        largest=_largest(list(zip(here, there, strict=True))),
        bit_equal=float(np.mean([_equal(a, b) for a, b in pairs])),
    )
    return record, cost


def _evaluation(artifact: Artifact, device: Counting, instructions: int) -> list[Outputs]:
    """Run as many evaluation samples as the budget allows, whole sequences only."""
    if artifact.dataset is None:
        return []
    budget = device.affordable(instructions, EVALUATION_SECONDS)
    lengths = itertools.accumulate(artifact.dataset.contents.lengths)
    count = sum(1 for total in lengths if total <= budget)
    items = [item.samples for item in artifact.dataset.take(range(count))]
    if not items:
        return []
    reported = [spec.name for spec in artifact.signature.reported]
    runs = itertools.chain(*device.run(artifact.shipped, artifact.signature, items))
    return [{name: run[name] for name in reported} for run in runs]


def _largest(pairs: Sequence[tuple[Outputs, Outputs]]) -> dict[str, float]:
    """Return the largest absolute difference per output over the golden samples."""
    far: dict[str, float] = {}
    for here, there in pairs:
        for name, want in here.items():
            got = there[name]
            if want.dtype.kind == "f":
                gap = float(np.abs(want.astype(np.float64) - got.astype(np.float64)).max(initial=0))
            else:
                gap = float(np.any(want != got))
            far[name] = max(far.get(name, 0.0), gap)
    return far


def _equal(a: Outputs, b: Outputs) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def _agreement(
    here: Sequence[Outputs], there: Sequence[Outputs], signature: Signature
) -> float | None:
    """Return the fraction of samples with the same decision, None where there is no decision."""
    first = signature.reported[0]
    if not here or first.dtype != "float32" or here[0][first.name].size < 2:
        return None
    same = [
        int(np.argmax(a[first.name])) == int(np.argmax(b[first.name]))
        for a, b in zip(here, there, strict=True)
    ]
    return float(np.mean(same))
