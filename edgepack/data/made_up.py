"""Samples for a model that comes without data."""

import numpy as np
import numpy.typing as npt

from edgepack.data.samples import Item
from edgepack.spec.signature import Signature, TensorSpec

_OPEN = 32


def made_up(signature: Signature, seed: int = 0) -> list[Item]:
    """Return four random items for a model without data.

    Floats are standard normal; integers are 0 or 1, a valid index into anything. The batch is 1,
    other open dimensions are 32: long enough for most strides, short enough for most positions.
    """
    rng = np.random.default_rng(seed)
    drawn = ({spec.name: _random(spec, rng) for spec in signature.fed} for _ in range(4))
    return [Item((sample,), (), index) for index, sample in enumerate(drawn)]


def _random(spec: TensorSpec, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    shape = tuple(
        dim if isinstance(dim, int) else (_OPEN if axis else 1)
        for axis, dim in enumerate(spec.shape)
    )
    if spec.dtype == "str":
        return np.full(shape, "a")
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(shape).astype(spec.dtype)
    return rng.integers(0, 2, shape).astype(spec.dtype)
