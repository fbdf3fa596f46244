"""An app for Node.js: an ES module with types over onnxruntime-node."""

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import RequestError
from edgepack.embed import App, identifiers, plain_text, render
from edgepack.spec.signature import TensorSpec

_ARRAYS = {
    "float32": "Float32Array",
    "float64": "Float64Array",
    "uint8": "Uint8Array",
    "int8": "Int8Array",
    "uint16": "Uint16Array",
    "int16": "Int16Array",
    "int32": "Int32Array",
    "uint32": "Uint32Array",
    "int64": "BigInt64Array",
    "uint64": "BigUint64Array",
    "bool": "Uint8Array",
}
_WORDS = """
arguments await break case catch class const continue debugger default delete do else enum eval
export extends false finally for function if implements import in instanceof interface let new
null package private protected public return static super switch this throw true try typeof var
void while with yield constructor prototype selftest undefined NaN Infinity Model
"""
_RESERVED = frozenset(_WORDS.split())


class Node:
    """Writes the module, its types, a self-test, the model and the golden samples."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app.

        Raises:
            RequestError: A tensor holds strings or float16.
        """
        signature, golden = app.signature, app.bundle.golden
        sides = (golden.inputs, signature.inputs), (golden.outputs, signature.outputs)
        arrays = [side[spec.name] for side, specs in sides for spec in specs]
        name = identifiers([app.name], _RESERVED)[app.name]
        context = {
            **app.context,
            "name": name,
            "inputs": _tensors(signature.inputs),
            "outputs": _tensors(signature.outputs),
            "state": signature.state,
            "shapes": [list(array.shape[1:]) for array in arrays],
        }
        return {
            f"{name}.mjs": render("node/app.mjs.jinja", context),
            f"{name}.d.mts": render("node/app.d.mts.jinja", context),
            "selftest.mjs": render("node/selftest.mjs.jinja", context),
            "package.json": render("node/package.json.jinja", context),
            "README.md": render("node/README.md.jinja", context),
            "model.onnx": app.bundle.model,
            "golden.bin": _golden(arrays, golden.n),
        }


def _tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
    names = identifiers([spec.name for spec in specs], _RESERVED)
    for spec in specs:
        if spec.dtype not in _ARRAYS:
            raise RequestError(
                "E-EMBED",
                f"Node.js cannot take this model: {spec.name!r} holds {spec.dtype}",
                hint="--lang python",
            )
    return [
        {
            "name": spec.name,
            "field": names[spec.name],
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "array": _ARRAYS[spec.dtype],
            "said": plain_text(str(spec)),
        }
        for spec in specs
    ]


def _golden(arrays: list[npt.NDArray[np.generic]], n: int) -> bytes:
    """Return sample by sample the bytes of all inputs, then all outputs, in the model's order."""
    return b"".join(array[i, ...].tobytes() for i in range(n) for array in arrays)
