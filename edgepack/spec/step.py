"""A step of a recipe: parameters are fields; ``fit`` binds it to a target or says why not."""

from typing import Self

import msgspec

from edgepack.spec.target import Target


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step that does not pay, or cannot run, on this target.

    Attributes:
        use: Name of the step.
        reason: A sentence for people, kept in the manifest.
    """

    use: str
    reason: str


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every step can do; leaves add their fields and ``rewrite`` or ``train``."""

    def fit(self, target: Target) -> Self | Skip:  # noqa: ARG002 - leaves look at the target
        """Return a copy suited to ``target``, or a ``Skip`` with the reason."""
        return self
