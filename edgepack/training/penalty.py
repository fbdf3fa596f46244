"""The three measures of how much a weight is: penalties while training, importance when pruning.

l1:     ``rho(w) = |w|``                                          Tibshirani 1996
l2:     ``rho(w) = w^2``                                          Han et al. 2015, arXiv:1506.02626
huber:  ``rho(w) = w^2 / 2`` where ``|w| <= delta``, else ``delta (|w| - delta / 2)``:
        small weights are pushed gently, large ones boundedly     Huber 1964, eq. (1.2)
group:  ``sum over channels of sqrt(n_c) ||w_c||_2``              Yuan and Lin 2006, eq. (2)
"""

import math
from typing import Literal

import torch

Kind = Literal["l1", "l2", "huber"]


def rho(weight: torch.Tensor, kind: Kind, delta: float) -> torch.Tensor:
    """Return the measure of each entry, in the shape of ``weight``.

    Args:
        weight: Any shape.
        kind: Which measure.
        delta: Where ``huber`` turns linear; not used by the others.
    """
    size = weight.abs()
    if kind == "l1":
        return size
    if kind == "l2":
        return size.square()
    return torch.where(size <= delta, size.square() / 2, delta * (size - delta / 2))


def group_norm(weight: torch.Tensor) -> torch.Tensor:
    """Return the group penalty of a weight whose axis 0 holds output channels, a scalar.

    The square root of the size of a group makes layers with larger filters comparable.
    """
    rows = weight.flatten(1)
    # 1e-12: a channel of zeros has a gradient too
    norms: torch.Tensor = (rows.square().sum(1) + 1e-12).sqrt()
    return norms.sum() * math.sqrt(rows.shape[1])
