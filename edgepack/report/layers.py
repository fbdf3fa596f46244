"""What ``edgepack inspect --layers`` looks at: a model, and the error of its tensors."""

from pathlib import Path

import onnx_ir as ir

from edgepack.base.errors import RequestError
from edgepack.bundle.open import open_bundle
from edgepack.data.samples import Dataset, Item, open_dataset
from edgepack.gate.layers import Error, errors
from edgepack.graph.census import signature
from edgepack.graph.read import parse, read
from edgepack.spec.signature import Signature


def load(
    path: Path, float_: Path | None = None, evaluation: str | None = None
) -> tuple[ir.Model, tuple[Error, ...]]:
    """Read a model and take the error of each quantized tensor, the worst first.

    Args:
        path: A bundle, or an ``.onnx`` file, which has no samples of its own.
        float_: The float model.
        evaluation: Samples in place of those that the bundle holds.

    Returns:
        The model, and nothing more of an ``.onnx`` file without ``evaluation``.

    Raises:
        EdgepackError: A file cannot be read, or does not fit.
    """
    items: list[Item] | Dataset | None = None
    if path.suffix.lower() == ".onnx":
        model = read(path).model
        face = signature(model)
    else:
        bundle = open_bundle(path)
        model = parse(bundle.model, str(path)).model
        face = signature(model, bundle.manifest.state)
        items = [Item((sample,), (), group) for group, sample in enumerate(bundle.golden.samples)]
    if evaluation is not None:
        items = open_dataset(evaluation, face, labelled=False)
    elif items is not None:
        face = Signature(face.inputs, face.outputs)  # golden samples hold their state
    if items is None and float_ is not None:
        raise RequestError("E-USAGE", f"{str(path)!r} holds no samples", hint="add --eval")
    if items is None:
        return model, ()
    return model, errors(model, items, face, None if float_ is None else read(float_).model)
