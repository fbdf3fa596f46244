"""What Node.js and the browser share: the module, its types and its golden samples.

The module does not know where it runs. Each host has a ``runtime.mjs`` beside it, which exports
``ort``, ``options``, ``read``, ``sha256``, ``MODEL`` and ``GOLDEN``.
"""

import json
from typing import Any

import numpy as np

from edgepack.base.errors import RequestError
from edgepack.base.files import sha256
from edgepack.embed import App, identifiers, image_facts, plain_text, render
from edgepack.spec.preprocess import VOCABULARY, Image, Text, kind, shape
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
    "str": "Array",
}
"""NumPy's name -> class of a tensor's data."""

_WORDS = """
arguments await break case catch class const continue debugger default delete do else enum eval
export extends false finally for function if implements import in instanceof interface let new
null package private protected public return static super switch this throw true try typeof var
void while with yield constructor prototype undefined NaN Infinity Model
"""
_RESERVED = frozenset(_WORDS.split())
_FILES = frozenset({"golden", "inputs", "page", "picture", "raw", "runtime", "selftest", "sound"})


def context(app: App) -> dict[str, Any]:
    """Return what templates of both hosts use.

    Raises:
        RequestError: A tensor holds float16, or the carried state holds strings.
    """
    signature, golden = app.signature, app.bundle.golden
    for spec in (*signature.inputs, *signature.outputs):
        carried = spec.name in {*signature.state, *signature.state.values()}
        if spec.dtype not in _ARRAYS or (carried and spec.dtype == "str"):
            raise RequestError(
                "E-EMBED",
                f"JavaScript cannot take this model: {spec.name!r} holds {spec.dtype}",
                hint="--lang python",
            )
    arrays = [
        *(golden.inputs[spec.name] for spec in signature.inputs),
        *(golden.outputs[spec.name] for spec in signature.outputs),
    ]
    return {
        **app.context,
        "name": identifiers([app.name], _RESERVED | _FILES)[app.name],
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "state": signature.state,
        "tolerances": [app.context["tolerance"][spec.name] for spec in signature.outputs],
        "raw": _raw(app),
        "shapes": [list(array.shape[1:]) for array in arrays],
    }


def module(found: dict[str, Any]) -> dict[str, bytes]:
    """Return the files that are the same in Node.js and the browser.

    Args:
        found: Of ``context``.
    """
    raw = found["raw"]
    files = {} if raw is None else {"raw.mjs": render(f"javascript/{raw['kind']}.mjs.jinja", found)}
    return {
        **files,
        f"{found['name']}.mjs": render("javascript/app.mjs.jinja", found),
        f"{found['name']}.d.mts": render("javascript/app.d.mts.jinja", found),
        "golden.mjs": render("javascript/golden.mjs.jinja", found),
    }


def raw_files(app: App) -> dict[str, bytes]:
    """Return what the module and its self-test read of raw input, by name."""
    rule = app.bundle.preprocess
    if rule is None:
        return {}
    given = app.bundle.golden.raw[rule.input][0, ...]
    example = str(given).encode() if isinstance(rule, Text) else given.tobytes()
    words = (
        {VOCABULARY: app.bundle.extras[f"assets/{rule.vocabulary}"]}
        if isinstance(rule, Text)
        else {}
    )
    return {"raw.bin": example, **words}


def samples(app: App) -> list[bytes]:
    """Return each golden sample: the bytes of all inputs, then all outputs, in the model's order.

    Strings are a JSON array of UTF-8 after its length in bytes, 4 bytes, the lowest first.
    """
    golden, signature = app.bundle.golden, app.signature
    arrays = [
        *(golden.inputs[spec.name] for spec in signature.inputs),
        *(golden.outputs[spec.name] for spec in signature.outputs),
    ]
    return [b"".join(_bytes(array[i, ...]) for array in arrays) for i in range(golden.n)]


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind != "U":
        return array.tobytes()
    text = json.dumps(array.ravel().tolist()).encode()
    return len(text).to_bytes(4, "little") + text


def _raw(app: App) -> dict[str, Any] | None:
    """Return what the templates say of raw input."""
    if (rule := app.bundle.preprocess) is None:
        return None
    inputs = {str(item["name"]): item for item in _tensors(app.signature.inputs)}
    spec = app.signature.input(rule.input)
    facts: dict[str, Any] = {
        "rule": rule,
        "kind": kind(rule),
        "field": inputs[rule.input]["field"],
        "type": inputs[rule.input]["array"],
        "dims": list(shape(rule, spec)),
        "mask": None,
    }
    if isinstance(rule, Image):
        given = app.bundle.golden.raw[rule.input].shape[1:]
        return facts | image_facts(rule) | {"given": given}
    if isinstance(rule, Text):
        facts["sha256"] = sha256(app.bundle.extras[f"assets/{rule.vocabulary}"])
        if rule.mask:
            facts["mask"] = inputs[rule.mask]["field"]
            facts["mask_type"] = inputs[rule.mask]["array"]
    return facts


def _tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
    names = identifiers([spec.name for spec in specs], _RESERVED)
    return [
        {
            "name": spec.name,
            "field": names[spec.name],
            "dtype": "string" if spec.dtype == "str" else spec.dtype,
            "shape": list(spec.shape),
            "array": _ARRAYS[spec.dtype],
            "said": plain_text(str(spec)),
        }
        for spec in specs
    ]
