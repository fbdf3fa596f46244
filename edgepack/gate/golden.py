"""The golden samples of a bundle: a few runs of the shipped model, complete with state."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepack.base.distance import largest_difference
from edgepack.base.errors import ModelError
from edgepack.bundle.golden import Golden
from edgepack.data.samples import Item
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample, Signature

_BYTES = 1 << 20
"""Room for golden arrays: they travel with every copy of the bundle."""

_FEWEST, _MOST = 2, 8


@dataclass(frozen=True, slots=True)
class First:
    """A golden sample that is made from raw input; it comes before all others.

    Attributes:
        item: The sample, and further ones of its size where the data hold none.
        raw: What it was made from: input -> one array, stacked.
    """

    item: Item
    raw: Mapping[str, npt.NDArray[np.generic]]


def record(
    model: bytes,
    items: Iterable[Item],
    signature: Signature,
    options: Options,
    first: First | None = None,
) -> Golden:
    """Run the first few samples through ``model`` and keep inputs and outputs.

    Args:
        model: The shipped model.
        items: Where samples come from; read only as far as needed.
        signature: With the carried state: each golden sample holds it and stands alone.
        options: The mode that stands for the target.
        first: A sample to begin with, and what it was made from.

    Raises:
        ModelError: The model gives something else the second time.
    """
    session = Session(model, options)
    samples: list[Sample] = []
    outputs: list[dict[str, npt.NDArray[np.generic]]] = []

    def run(sample: Sample) -> dict[str, npt.NDArray[np.generic]]:
        result = session.run(sample)
        samples.append(sample)
        outputs.append(result)
        return result

    for item in itertools.chain([first.item] if first else [], items):
        run_sequence(run, item.samples[: _MOST - len(samples)], signature)
        size = sum(array.nbytes for array in samples[0].values())
        if len(samples) >= max(_FEWEST, min(_MOST, _BYTES // max(size, 1))):
            break
    again = session.run(samples[0])
    for name, array in outputs[0].items():
        if largest_difference(array, again[name]) > 0:
            raise ModelError(
                "E-RANDOM",
                f"output {name!r} differs between two runs on the same input",
                hint="a bundle cannot test a model that draws random numbers: seed or remove them",
            )
    return Golden.of(samples, outputs, first.raw if first else None)
