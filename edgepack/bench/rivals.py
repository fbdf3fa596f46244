"""A and B, ready to be compared: bytes, session options, and what both run on."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.bench.record import Contestant, Options
from edgepack.runtime.session import Options as SessionOptions
from edgepack.spec.signature import Sample

_CALM = {"session.force_spinning_stop": "1"}
"""A pool that spins after its run slows whoever runs next, by 12 % where it was measured."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A model to compare: its bytes, and where they come from."""

    contestant: Contestant
    model: bytes


@dataclass(frozen=True, slots=True)
class Rivals:
    """Two models of one signature, and what both run on.

    Attributes:
        a: The reference.
        b: The one that may be slower.
        samples: State included.
        inputs: Where the samples come from, in words.
    """

    a: Arm
    b: Arm
    samples: Sequence[Sample]
    inputs: str


def arm(name: str, model: bytes, digest: str, options: SessionOptions) -> Arm:
    """Return a contestant; with several threads, its pool stops spinning when a run ends."""
    calm = _CALM if options.threads != 1 else {}
    kept = Options(
        threads=options.threads,
        exact=options.exact,
        level=options.level,
        provider=options.provider,
        entries={**options.entries, **calm},
    )
    return Arm(Contestant(name, digest, kept), model)
