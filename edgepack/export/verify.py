"""Is the ONNX model the torch model: compared on inputs that neither was traced with."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch

from edgepack.base.errors import ModelError
from edgepack.export.cases import Case
from edgepack.export.divergence import feed, first_divergence
from edgepack.export.interface import Interface
from edgepack.export.tolerance import deviation, is_half
from edgepack.graph.write import to_bytes
from edgepack.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch says.

    Attributes:
        interface: How torch was called.
        cases: Inputs and answers.
        program: The torch program that the model was translated from, to look inside; or None.
    """

    interface: Interface
    cases: Sequence[Case]
    program: torch.export.ExportedProgram | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What the comparison showed.

    Attributes:
        n: Inputs compared.
        worst_absolute: The largest ``|onnx - torch|`` over all outputs.
        worst_relative: The largest one as a fraction of the largest value of its output.
    """

    n: int
    worst_absolute: float
    worst_relative: float


def verify(model: ir.Model, reference: Reference) -> Verified:
    """Compare a model with torch's answers.

    Raises:
        ModelError: They differ (names the first node that does, where torch's program tells), or
            the runtime refuses the model.
    """
    interface = reference.interface
    session = Session(to_bytes(model), where="the exported model")
    half = is_half((*interface.example, *interface.module.parameters()))
    absolute = relative = 0.0
    for case in reference.cases:
        outputs = session.run(feed(interface, case, session))
        for name, expected in case.expected.items():
            gap, share, fits = deviation(outputs[name], expected, half=half)
            if not fits:
                raise _mismatch(model, reference, case, f"output {name!r} by {share:.2g}")
            absolute, relative = max(absolute, gap), max(relative, share)
    return Verified(len(reference.cases), absolute, relative)


def _mismatch(model: ir.Model, reference: Reference, case: Case, what: str) -> ModelError:
    node = ""
    if reference.program is not None:
        node = first_divergence(model, reference.program, reference.interface, case)
    sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items())
    return ModelError(
        "E-EXPORT-MISMATCH",
        f"the exported model differs from torch in {what} of its largest value"
        + (f" with {sizes}" if sizes else "")
        + (f"; the first to differ is {node}" if node else ""),
        hint="the exporter translates an operator wrongly; rewrite it in other operators",
    )
