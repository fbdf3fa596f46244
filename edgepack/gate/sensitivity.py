"""How much each integer node costs: noise of the outputs when it alone is rounded, and its seconds.

Measured once and kept as a file that people can read, edit, and give back to ``mixed_precision``.

Source: Nagel et al. 2021, arXiv:2106.08295, section 4.4 (debugging flow: per-layer sensitivity).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from edgepack.base.errors import RequestError, nearest
from edgepack.data.fidelity import fidelity
from edgepack.data.samples import Item, first_runs
from edgepack.gate.candidates import Rewritten
from edgepack.gate.evaluate import evaluate
from edgepack.runtime.session import Options
from edgepack.spec.decode import decode, read_toml

RUNS = 64
"""Runs that noise is measured on: it ranks, it does not decide."""

_HEAD = """\
# By node: noise over signal at the outputs when it alone computes in int8, and the seconds that it
# takes alone, by precision. Edit a copy and give it to the step: mixed_precision, sensitivity =
# "copy.toml". A node of noise inf leaves int8 first, one of noise 0 last.
"""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one node costs.

    Attributes:
        noise: Power of the error over power of the outputs, when it alone is rounded.
        seconds: Precision -> CPU time of the node alone on the device; empty without one.
    """

    noise: float
    seconds: dict[str, float] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if not self.noise >= 0 or not all(each >= 0 for each in self.seconds.values()):
            raise ValueError("noise and seconds are numbers from 0 on")


class Sensitivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: what each integer node of a model costs."""

    layers: dict[str, Layer]


def encode(found: Sensitivity) -> bytes:
    """Write a file that ``load`` reads."""
    lines = [_HEAD]
    for name, layer in found.layers.items():
        seconds = ", ".join(f"{kind} = {value:.3g}" for kind, value in layer.seconds.items())
        lines.append(f"[layers.{json.dumps(name)}]\nnoise = {layer.noise!r}")
        lines.append(f"seconds = {{{seconds}}}\n")
    return "\n".join(lines).encode()


def load(path: Path, nodes: Sequence[str]) -> Sensitivity:
    """Read a file; it must speak of each of ``nodes`` and of no other.

    Raises:
        RequestError: It does not, or it breaks the schema.
    """
    found = decode(Sensitivity, read_toml(path), str(path))
    for name in found.layers:
        if name not in nodes:
            raise RequestError(
                "E-NODE", f"{path}: {name!r} is no integer node", hint=nearest(name, nodes)
            )
    for name in nodes:
        if name not in found.layers:
            raise RequestError(
                "E-NODE",
                f"{path}: the integer node {name!r} is missing",
                hint="measure again: leave sensitivity out of the recipe",
            )
    return found


def noises(
    rewritten: Rewritten, nodes: Sequence[str], items: Sequence[Item], options: Options
) -> Mapping[str, float]:
    """Return noise over signal of all outputs, by the node that alone is rounded.

    Args:
        rewritten: The candidates, the whole recipe first.
        nodes: Its integer nodes.
        items: Samples to rank on, of which a few are run; never those that are reported.
        options: The mode that stands for the target.
    """
    signature, few = rewritten.signature, list(first_runs(items, RUNS))
    reference = evaluate(rewritten.rounded.data, few, signature, options).outputs
    found = {}
    for name in nodes:
        others = {other: "float" for other in nodes if other != name}
        alone = rewritten.refold(others)
        decibels = fidelity(reference, evaluate(alone.data, few, signature, options).outputs)[2]
        found[name] = 0.0 if decibels is None else 10 ** (-decibels / 10)
    return found
