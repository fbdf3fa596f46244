"""What changed between two artifacts: a bundle or a model against another, fact by fact."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir

from edgepack.base import units
from edgepack.bundle.open import open_bundle
from edgepack.graph.census import signature
from edgepack.graph.constants import Array
from edgepack.graph.precision import precisions
from edgepack.graph.read import Read, parse, read
from edgepack.spec.manifest import Manifest

_ELSEWHERE = frozenset({"files", "inputs", "outputs", "precision", "size"})
"""Keys of the manifest that the model itself answers, or that follow from the rest."""

Facts = Mapping[tuple[str, str], str]
"""(section, name) -> value, as text."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One side of the comparison.

    Attributes:
        sha256: Of the file.
        facts: What can be said of it in words.
        weights: Its constants, by name.
    """

    sha256: str
    facts: Facts
    weights: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that differs.

    Attributes:
        section: ``interface``, ``operators``, ``weights``, or a part of the manifest.
        name: Of the tensor, the operator or the field.
        before: Its value in the first artifact; None where it has none.
        after: Its value in the second.
    """

    section: str
    name: str
    before: str | None
    after: str | None


def artifact(path: Path) -> Artifact:
    """Read a bundle or an ``.onnx`` file.

    Raises:
        RequestError: There is no such file.
        ModelError: It is no sound model.
        SafetyError: It is a damaged or hostile bundle.
    """
    if path.suffix.lower() == ".onnx":
        found = read(path)
        return Artifact(found.sha256, dict(_of_model(found)), _weights(found.model))
    bundle = open_bundle(path)
    found = parse(bundle.model, str(path))
    facts = {**dict(_of_model(found)), **dict(_of_manifest(bundle.manifest))}
    return Artifact(bundle.sha256, facts, _weights(found.model))


def differences(one: Artifact, other: Artifact) -> tuple[Change, ...]:
    """Return every fact that differs, and every weight, in the order of the first artifact.

    What only a bundle knows (its target, its accuracy, its lineage) is compared where both sides
    are bundles: a model is not different for having no manifest.
    """
    shared = {section for section, _ in one.facts} & {section for section, _ in other.facts}
    keys = dict.fromkeys((*one.facts, *other.facts))
    told = (Change(*key, one.facts.get(key), other.facts.get(key)) for key in keys)
    facts = (each for each in told if each.before != each.after and each.section in shared)
    return (*facts, *_of_weights(one.weights, other.weights))


def _of_model(found: Read) -> Iterator[tuple[tuple[str, str], str]]:
    face = signature(found.model)
    for kind, specs in (("input", face.inputs), ("output", face.outputs)):
        for spec in specs:
            yield ("interface", f"{kind} {spec.name}"), str(spec)
    for op, counts in precisions(found.model).items():
        for precision, number in counts.items():
            yield ("operators", f"{op} {precision}"), str(number)
    yield ("model", "opset"), str(found.opset)
    total = sum(array.nbytes for array in _weights(found.model).values())
    yield ("model", "bytes of weights"), units.size(total)


def _of_manifest(manifest: Manifest) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the leaves of the manifest under its own names, lists by their position."""
    for section, part in msgspec.to_builtins(manifest).items():
        if section not in _ELSEWHERE:
            for name, value in _leaves(part, ""):
                if (section, name) != ("target", "sources"):  # prose about the other facts
                    yield (section, name), value
    for node, reason in manifest.precision.left_in_float.items():
        yield ("left in float", node), reason


def _leaves(part: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _leaves(value, f"{name}.{key}".lstrip("."))
    elif isinstance(part, (list, tuple)):
        if any(isinstance(value, (dict, list, tuple)) for value in part):
            for index, value in enumerate(part):
                yield from _leaves(value, f"{name}[{index}]")
        elif part:
            yield name, ", ".join(map(str, part))
    else:
        yield name, str(part)


def _weights(model: ir.Model) -> dict[str, Array]:
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


def _of_weights(one: Mapping[str, Array], other: Mapping[str, Array]) -> Iterator[Change]:
    for name in dict.fromkeys((*one, *other)):
        before, after = one.get(name), other.get(name)
        known = [None if each is None else _named(each) for each in (before, after)]
        if before is None or after is None:
            yield Change("weights", name, *known)
        elif _digest(before) != _digest(after):
            yield Change("weights", name, known[0], f"{known[1]}{_noise(before, after)}")


def _named(array: Array) -> str:
    """Return such as ``float32 [16, 3, 3, 3] 1f0c5a2e``."""
    return f"{array.dtype} {list(array.shape)} {_digest(array)[:8]}"


def _digest(array: Array) -> str:
    """Return the SHA-256 of type, shape and values of a constant."""
    head = f"{array.dtype} {array.shape} ".encode()
    # strings are objects here, whose bytes would be addresses
    body = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return hashlib.sha256(head + body).hexdigest()


def _noise(before: Array, after: Array) -> str:
    """Return how far a weight moved, in dB of the first one; nothing where that has no meaning.

    Codes are compared by their digest alone: their scale may have moved as well.
    """
    if before.shape != after.shape or {before.dtype.kind, after.dtype.kind} != {"f"}:
        return ""
    kept = before.astype(np.float64)
    power, moved = float((kept**2).sum()), float(((after.astype(np.float64) - kept) ** 2).sum())
    return f", {10 * np.log10(power / moved):.1f} dB" if power > 0 and moved > 0 else ""
