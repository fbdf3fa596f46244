"""Run a data set through a model and keep what a metric needs."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepack.data.samples import Item
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Signature

Outputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Reported outputs of every run, in order, with labels and clusters.

    Attributes:
        outputs: One per run; the carried state is left out.
        labels: One per run, or empty.
        groups: Cluster of each run: photograph, speaker, sequence.
    """

    outputs: tuple[Outputs, ...]
    labels: tuple[npt.NDArray[np.generic], ...]
    groups: tuple[int, ...]


def evaluate(model: bytes, items: Iterable[Item], signature: Signature, options: Options) -> Scored:
    """Run every item through ``model``.

    Args:
        model: A self-contained ONNX file.
        items: Evaluation data.
        signature: Interface with the carried state.
        options: Exact mode stands for CPUs that do not saturate.
    """
    session = Session(model, options)
    reported = [spec.name for spec in signature.reported]
    outputs: list[Outputs] = []
    labels: list[npt.NDArray[np.generic]] = []
    groups: list[int] = []
    for item in items:
        for result in run_sequence(session.run, item.samples, signature):
            outputs.append({name: result[name] for name in reported})
            groups.append(item.group)
        labels.extend(item.labels)
    return Scored(tuple(outputs), tuple(labels), tuple(groups))
