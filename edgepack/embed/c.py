"""An app in C11, usable from C++: two functions around the model, onnxruntime opened at run time.

Dimensions that the model leaves open are fixed when it is opened, so that a run allocates nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import RequestError
from edgepack.base.files import sha256
from edgepack.embed import App, identifiers, image_facts, plain_text, render
from edgepack.runtime.raw.text import read_vocabulary
from edgepack.runtime.session import Options, Session
from edgepack.spec.preprocess import VOCABULARY, Audio, Image, shape
from edgepack.spec.signature import Sample, Signature, TensorSpec

_TYPES = {
    "float32": ("float", 1),
    "uint8": ("uint8_t", 2),
    "int8": ("int8_t", 3),
    "uint16": ("uint16_t", 4),
    "int16": ("int16_t", 5),
    "int32": ("int32_t", 6),
    "int64": ("int64_t", 7),
    "bool": ("uint8_t", 9),
    "float16": ("uint16_t", 10),
    "float64": ("double", 11),
    "uint32": ("uint32_t", 12),
    "uint64": ("uint64_t", 13),
}
"""NumPy's name -> type in C, and ONNX's ``TensorProto.DataType``; float16 as its bits."""

_WORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class co_await
    co_return co_yield compl concept const const_cast consteval constexpr constinit continue
    decltype default delete do double dynamic_cast else enum explicit export extern false float
    for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof union unsigned using virtual void
    volatile wchar_t while xor xor_eq linux unix ort main sha256 selftest errno stdin stdout
    stderr assert preprocess
"""
_KEYWORDS = frozenset(_WORDS.split())
_OPTIONS = {"model", "runtime", "threads", "vocabulary"} | {
    f"image_{each}" for each in ("width", "height", "channels")
}
_LEVELS = {"all": 99, "extended": 2, "basic": 1, "disable": 0}
_FILES = ("Makefile", "CMakeLists.txt", "README.md", "ort.h", "sha256.h", "selftest.c", "model.S")


class C:
    """Writes header, source, self-test, build files, the model and the golden samples."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app.

        Raises:
            RequestError: A tensor holds strings, or an output has a size that no input decides.
        """
        context = _context(app)
        name = context["name"]
        files = {file: render(f"c/{file}.jinja", context) for file in _FILES}
        files[f"{name}.h"] = render("c/app.h.jinja", context)
        files[f"{name}.c"] = render("c/app.c.jinja", context)
        files |= {"model.onnx": app.bundle.model, "golden.bin": _golden(app)}
        return files if (raw := context["raw"]) is None else files | _raw_files(raw)


def _context(app: App) -> dict[str, Any]:
    signature, golden = _signature(app), app.bundle.golden
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in _TYPES:
            raise _cannot(f"{spec.name!r} holds strings")
    symbols: dict[str, int] = {}
    for spec in signature.inputs:
        sides = golden.inputs[spec.name].shape[1:]
        if len(sides) != len(spec.shape) or None in spec.shape:
            raise _cannot(f"input {str(spec)!r} leaves a dimension without a name")
        symbols |= {
            dim: size for dim, size in zip(spec.shape, sides, strict=True) if isinstance(dim, str)
        }
    for spec in signature.outputs:
        known = all(isinstance(dim, int) or dim in symbols for dim in spec.shape)
        if not known or golden.outputs[spec.name].ndim - 1 != len(spec.shape):
            raise _cannot(f"output {str(spec)!r} has a size that no input decides")
    sizes = identifiers(symbols, _KEYWORDS | _OPTIONS)
    name = identifiers([app.name], _KEYWORDS)[app.name]
    inputs = _tensors(signature.inputs, sizes, golden.inputs)
    outputs = _tensors(signature.outputs, sizes, golden.outputs)
    order = {spec.name: i for i, spec in enumerate(signature.inputs)}
    return {
        **app.context,
        "name": name,
        "raw": _raw(app, inputs, sizes),
        "sizes": [(sizes[symbol], symbols[symbol]) for symbol in symbols],
        "inputs": inputs,
        "outputs": outputs,
        "fed": [i for i, spec in enumerate(signature.inputs) if spec in signature.fed],
        "reported": [i for i, spec in enumerate(signature.outputs) if spec in signature.reported],
        "carried": [
            (i, order[signature.state[spec.name]])
            for i, spec in enumerate(signature.outputs)
            if spec.name in signature.state
        ],
        "kinds": {str(item["dtype"]): item for item in outputs},
        "round_constants": _fractions(64, 3),
        "first_state": _fractions(8, 2),
        "optimize": _LEVELS[app.context["level"]],
        "far": [app.bundle.manifest.golden.tolerance[spec.name] for spec in signature.outputs],
    }


def _signature(app: App) -> Signature:
    """Return the signature; where inputs leave an output open, at the sizes of raw input."""
    signature, bundle = app.signature, app.bundle
    sizes = {
        dim: size
        for spec in signature.inputs
        for dim, size in zip(spec.shape, bundle.golden.inputs[spec.name].shape[1:], strict=False)
        if isinstance(dim, str)
    }
    decided = all(
        isinstance(dim, int) or dim in sizes for spec in signature.outputs for dim in spec.shape
    )
    if decided or bundle.preprocess is None:
        return signature
    # The runtime's own inference tells what follows, and leaves open what depends on values.
    session = Session(bundle.model, Options(level="disable", dimensions=sizes))
    return Signature(session.inputs, session.outputs, signature.state)


def _raw(app: App, inputs: list[dict[str, Any]], sizes: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what the templates say of raw input."""
    if (rule := app.bundle.preprocess) is None:
        return None
    order = {item["name"]: i for i, item in enumerate(inputs)}
    spec = app.signature.input(rule.input)
    given = app.bundle.golden.raw[rule.input][0, ...]
    facts: dict[str, Any] = {
        "rule": rule,
        "index": order[rule.input],
        "field": inputs[order[rule.input]]["field"],
        "type": inputs[order[rule.input]]["type"],
        "mask": None,
        "sizes": {
            sizes[dim]: size
            for dim, size in zip(spec.shape, shape(rule, spec), strict=True)
            if isinstance(dim, str) and dim in sizes
        },
    }
    if isinstance(rule, Image):
        return (
            facts | _IMAGE | image_facts(rule) | {"given": given.shape, "example": given.tobytes()}
        )
    if isinstance(rule, Audio):
        return facts | _AUDIO | {"example": given.tobytes()}
    if rule.mask:
        index = order[rule.mask]
        facts |= {"mask": inputs[index]["field"], "mask_index": index}
        facts["mask_type"] = inputs[index]["type"]
    words = app.bundle.extras[f"assets/{rule.vocabulary}"]
    lines = len(read_vocabulary(words))
    text = {"words": words, "lines": lines, "sha256": sha256(words)}
    return facts | _TEXT | text | {"example": str(given).encode() + b"\0"}


_IMAGE = {"kind": "image", "verb": "image", "c_type": "uint8_t", "said": "an image"}
_TEXT = {"kind": "text", "verb": "text", "c_type": "char", "said": "a text"}
_AUDIO = {"kind": "audio", "verb": "samples", "c_type": "int16_t", "said": "a frame"}


def _raw_files(raw: dict[str, Any]) -> dict[str, bytes]:
    header = render(f"c/{raw['kind']}.h.jinja", raw)
    files = {"preprocess.h": header, "raw.bin": raw["example"]}
    return files | ({VOCABULARY: raw["words"]} if raw["kind"] == "text" else {})


def _tensors(
    specs: tuple[TensorSpec, ...], sizes: dict[str, str], golden: Sample
) -> list[dict[str, Any]]:
    names = identifiers([spec.name for spec in specs], _KEYWORDS)
    return [
        {
            "name": spec.name,
            "field": names[spec.name],
            "type": _TYPES[spec.dtype][0],
            "dtype": spec.dtype,
            "onnx": _TYPES[spec.dtype][1],
            "dims": [f"sizes->{sizes[d]}" if isinstance(d, str) else str(d) for d in spec.shape],
            "count": golden[spec.name][0, ...].size,
            "said": plain_text(str(spec)),
        }
        for spec in specs
    ]


def _fractions(count: int, root: int) -> list[int]:
    """Return 32 bits after the point of the roots of the first primes: FIPS 180-4, 4.2.2, 5.3.3."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))][:count]
    return [_root(prime << 32 * root, root) & 0xFFFFFFFF for prime in primes]


def _root(number: int, root: int) -> int:
    """Return the largest integer whose power ``root`` is not above ``number``."""
    found = 0
    for bit in reversed(range(36)):
        if (found | 1 << bit) ** root <= number:
            found |= 1 << bit
    return found


def _golden(app: App) -> bytes:
    """Return sample by sample the bytes of all inputs, then all outputs, in the model's order."""
    golden, signature = app.bundle.golden, app.signature
    arrays: list[npt.NDArray[np.generic]] = [
        *(golden.inputs[spec.name] for spec in signature.inputs),
        *(golden.outputs[spec.name] for spec in signature.outputs),
    ]
    return b"".join(array[i, ...].tobytes() for i in range(golden.n) for array in arrays)


def _cannot(reason: str) -> RequestError:
    return RequestError("E-EMBED", f"C cannot take this model: {reason}", hint="--lang python")
