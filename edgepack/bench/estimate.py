"""Estimated cost: what counted instructions and misses would take on a core described by facts.

It ranks models on one CPU at one precision. It is no time, and it never decides between
precisions: kernels of other types stall in other ways, which no count shows. Against measured
time on x86-64 see ``benchmarks/cost.py``.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgepack import devices
from edgepack.base.errors import RequestError
from edgepack.base.files import beside
from edgepack.bundle.open import open_bundle
from edgepack.data.made_up import made_up
from edgepack.devices import Cache, Caches, Counting, Counts
from edgepack.runtime.carry import Carry
from edgepack.runtime.session import Session
from edgepack.spec import target
from edgepack.spec.signature import Sample, Signature
from edgepack.spec.target import Cost

_MULTIPLIES = ("usdot", "dot", "mmla", "fmla", "imlal")
"""Classes of ``runtime/native/aarch64.h`` that multiply and add."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts of one inference and the cycles they are estimated to cost."""

    counts: Counts
    cycles: float


class File(msgspec.Struct, frozen=True, tag_field="format", tag="edgepack-counts/1"):
    """What ``bench --on qemu:... -o`` writes: a device, and model -> estimate."""

    device: str
    results: dict[str, Estimate]


def facts(cpu: str) -> Cost:
    """Return what a built-in target knows about the emulated CPU called ``cpu``.

    Raises:
        RequestError: No target holds such facts.
    """
    built_in = [target.load(path.stem) for path in sorted(target.BUILT_IN.glob("*.toml"))]
    known = {name: cost for each in built_in for name, cost in (each.cost or {}).items()}
    if cpu not in known:
        raise RequestError(
            "E-COST",
            f"no target says what bounds the speed of {cpu!r}",
            hint=f"known: {', '.join(sorted(known))}",
        )
    return known[cpu]


def cycles(counts: Counts, cost: Cost) -> float:
    """Return the largest of three bounds of throughput, plus what misses add.

    Source of the form: Williams et al. 2009, "Roofline", doi:10.1145/1498765.1498785.
    """
    products = sum(counts.classes.get(name, 0) for name in _MULTIPLIES)
    bound = max(
        counts.total / cost.width, products / cost.pipes, counts.memory["loads"] / cost.ports
    )
    misses = counts.memory["l1_misses"] * cost.l1_penalty
    return bound + misses + counts.memory["l2_misses"] * cost.l2_penalty


def estimate(
    device: Counting, model: bytes, signature: Signature, sample: Sample, cost: Cost
) -> Estimate:
    """Count one inference on ``device`` with the caches of ``cost``; raises as ``count`` does."""
    devices.require_fit(device, signature)
    caches = Caches(Cache(*cost.l1), Cache(*cost.l2))
    counts = device.count(model, signature, sample, caches)
    return Estimate(counts, cycles(counts, cost))


def read(path: Path) -> tuple[bytes, Signature, Sample]:
    """Return a model with its first golden sample, or made-up input where it is plain ONNX.

    Raises:
        EdgepackError: The file cannot be read.
    """
    if path.suffix.lower() != ".onnx":
        bundle = open_bundle(path)
        face = Signature(bundle.manifest.inputs, bundle.manifest.outputs)
        return bundle.model, face, bundle.golden.samples[0]
    if not path.is_file():
        raise RequestError("E-PATH", f"no model at {str(path)!r}", hint=beside(path))
    data = path.read_bytes()
    session = Session(data, where=str(path))
    face = Signature(session.inputs, session.outputs)
    return data, face, Carry(face).fill(made_up(face)[0].samples[0])
