"""Scales that training found: what quantize_static writes where it would otherwise measure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgepack.quantization.scales import ActivationScale


@dataclass(frozen=True, slots=True)
class WeightScale:
    """How one weight becomes codes.

    Attributes:
        scale: One per output channel, float32.
        limit: Largest code.
    """

    scale: npt.NDArray[np.float32]
    limit: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What belongs to the float weights that were trained with it.

    Attributes:
        activations: Tensor whose range a scale follows from -> the scale; see ``Placement``.
        weights: Node -> how its weight is rounded.
    """

    activations: Mapping[str, ActivationScale] = field(default_factory=dict)
    weights: Mapping[str, WeightScale] = field(default_factory=dict)
