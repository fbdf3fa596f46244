"""Carry state from one run to the next: what goes out as ``hn`` comes in again as ``h``."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgepack.spec.signature import Sample, Signature, TensorSpec

Outputs = dict[str, npt.NDArray[np.generic]]


class Carry:
    """The state between two runs; zeros at the start.

    Attributes:
        signature: Says which output feeds which input.
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._state: dict[str, npt.NDArray[np.generic]] = {}

    def reset(self) -> None:
        """Forget: the next run starts from zeros."""
        self._state = {}

    def fill(self, sample: Sample) -> Sample:
        """Return ``sample`` with the state inputs added."""
        names = self.signature.state.values()
        if not self._state and names:
            sizes = _sizes(sample, self.signature)
            self._state = {name: _zeros(self.signature.input(name), sizes) for name in names}
        return {**sample, **self._state}

    def keep(self, outputs: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Remember the state outputs of a run for the next one."""
        self._state = {to: outputs[out] for out, to in self.signature.state.items()}


def run_sequence(
    run: Callable[[Sample], Outputs], samples: Sequence[Sample], signature: Signature
) -> list[Outputs]:
    """Run the frames of one sequence in order, state starting at zeros.

    Args:
        run: Runs the model once, on all inputs, giving at least the state outputs.
        samples: The frames, without state inputs.
        signature: Of the model; without state this is a plain loop.

    Returns:
        What ``run`` gave for each frame.
    """
    carry = Carry(signature)
    results = []
    for sample in samples:
        outputs = run(carry.fill(sample))
        carry.keep(outputs)
        results.append(outputs)
    return results


def _sizes(sample: Sample, signature: Signature) -> dict[str, int]:
    """Return the size of each symbolic dimension that the sample decides."""
    return {
        dim: size
        for spec in signature.inputs
        if spec.name in sample
        for dim, size in zip(spec.shape, np.shape(sample[spec.name]), strict=False)
        if isinstance(dim, str)
    }


def _zeros(spec: TensorSpec, sizes: Mapping[str, int]) -> npt.NDArray[np.generic]:
    """Return a zero state; a dimension that nothing decides, usually the batch, is 1."""
    shape = [dim if isinstance(dim, int) else sizes.get(dim or "", 1) for dim in spec.shape]
    return np.zeros(shape, np.dtype(spec.dtype))
