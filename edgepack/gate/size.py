"""What the bytes of a candidate say: over a limit, or too many for what they are meant to save."""

from edgepack.base import units
from edgepack.gate.candidates import Candidate
from edgepack.gate.terms import Terms

_SMALLER = 0.97
"""Share of the float bytes above which a file is not worth calling smaller."""


def too_big(candidate: Candidate, float_: Candidate, terms: Terms) -> str:
    """Say why the file of a candidate does not ship, or nothing.

    Where size comes first, integers that need more bytes than float are for nothing: nodes that
    round and restore cost some hundred bytes each, more than the weights of a tiny layer.
    """
    size, whole = len(candidate.data), len(float_.data)
    if terms.max_size is not None and size > terms.max_size:
        return f"{units.size(size)} exceeds {units.size(terms.max_size)}"
    if candidate.lossy and size > whole and terms.objective == "size" and not terms.require_int8:
        return f"size comes first, and its {units.size(size)} exceed {units.size(whole)} of float32"
    return ""


def gains_nothing(candidate: Candidate, float_: Candidate, terms: Terms, *, timed: bool) -> str:
    """Say that a candidate is neither smaller nor can be shown to be faster, or nothing.

    Args:
        candidate: What passed the other gates.
        float_: What it takes the place of.
        terms: The gates.
        timed: Whether a device can show that it is faster.
    """
    share = len(candidate.data) / len(float_.data)
    if share <= _SMALLER or terms.require_int8 or (terms.objective == "speed" and timed):
        return ""
    return (
        f"{candidate.name} has {units.percent(share, 0)} of the bytes of float32 and no device "
        "is here to time it: --recipe float32 may serve as well"
    )
