"""Fix dimensions that a model leaves open."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgepack.base.errors import RequestError, nearest


def fix_shapes(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give inputs of ``model`` the shapes asked for, in place.

    Args:
        model: Its symbolic dimensions may become numbers; numbers stay.
        shapes: Input -> shape.

    Raises:
        RequestError: There is no such input, or a dimension is fixed to something else.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, shape in shapes.items():
        if name not in inputs:
            raise RequestError("E-SHAPE", f"no input {name!r}", hint=nearest(name, inputs))
        known = inputs[name].shape
        wanted = ir.Shape(shape)
        if known is not None and not _fits(tuple(known), shape):
            raise RequestError(
                "E-SHAPE", f"input {name!r} has shape {known}, not {wanted}", hint="--shape"
            )
        inputs[name].shape = wanted
    if shapes:
        ShapeInferencePass()(model)


def _fits(known: Sequence[object], shape: Sequence[int]) -> bool:
    pairs = zip(known, shape, strict=False)
    return len(known) == len(shape) and all(k == s for k, s in pairs if isinstance(k, int))
