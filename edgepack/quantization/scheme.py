"""The integer types that a target wants."""

from dataclasses import dataclass, replace

import numpy as np

from edgepack.spec.target import Int8


@dataclass(frozen=True, slots=True)
class Scheme:
    """How real tensors become bytes.

    Attributes:
        activations: ``uint8`` or ``int8``; ``uint16`` or ``int16`` of a node that needs them.
        symmetric: Whether activations have zero point 0 and a range of +-127, or +-32767.
        weights: ``int8`` (zero point 0) or ``uint8`` (zero point 128); codes stay in +-127.
        depthwise: The same of depthwise convolutions.
        pair_law: Whether weights must keep u8*s8 pair sums within 16 bits.
        integer_bias: Whether a bias becomes int32, else it stays in float.
    """

    activations: np.dtype[np.integer]
    symmetric: bool
    weights: np.dtype[np.integer]
    depthwise: np.dtype[np.integer]
    pair_law: bool
    integer_bias: bool

    def weight_zero(self, *, depthwise: bool = False) -> int:
        """Zero point of weights."""
        return 128 if (self.depthwise if depthwise else self.weights) == np.uint8 else 0


def scheme_for(facts: Int8) -> Scheme:
    """Return the scheme that follows from a target's facts."""
    return Scheme(
        activations=np.dtype(facts.activations),
        symmetric=facts.symmetric,
        weights=np.dtype(facts.weights),
        depthwise=np.dtype(facts.depthwise or facts.weights),
        pair_law=facts.saturating and facts.activations == "uint8" and facts.weights == "int8",
        integer_bias=facts.bias == "int32",
    )


def wide(scheme: Scheme) -> Scheme:
    """Return the same with activations of 16 bits; no kernel adds two such products in 16 bits."""
    kind = {"uint8": np.uint16, "int8": np.int16}[scheme.activations.name]
    return replace(scheme, activations=np.dtype(kind), pair_law=False)
