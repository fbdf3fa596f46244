"""What a model accepts and returns: names, dtypes and shapes, independent of any framework."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Sample: TypeAlias = Mapping[str, npt.NDArray[np.generic]]
"""One ``run`` call: one array per model input, batch dimension included."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output.

    Attributes:
        name: As in the model.
        dtype: NumPy's name: ``float32``, ``int64``, ``bool``, or ``str`` for strings.
        shape: A string dimension is symbolic: ``("batch", 3, 224, 224)``; None where unknown.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        """Return ``image: float32[batch,3,224,224]``."""
        dims = ",".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interface no pass may change.

    Attributes:
        inputs: In the order of the model.
        outputs: In the order of the model.
        state: Output name -> input name, for what a caller carries from one run to the next.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: dict[str, str] = {}

    def input(self, name: str) -> TensorSpec:
        """Return the input called ``name``; a missing one is a slip of the caller."""
        return next(spec for spec in self.inputs if spec.name == name)

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        """Inputs that samples must give: all but the carried state."""
        carried = set(self.state.values())
        return tuple(spec for spec in self.inputs if spec.name not in carried)

    @property
    def reported(self) -> tuple[TensorSpec, ...]:
        """Outputs that answer the caller: all but the carried state."""
        return tuple(spec for spec in self.outputs if spec.name not in self.state)
