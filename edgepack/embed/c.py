"""An app in C11, usable from C++: two functions around the model, onnxruntime opened at run time.

Dimensions that the model leaves open are fixed when it is opened, so that a run allocates nothing.
"""

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import RequestError
from edgepack.embed import App, identifiers, plain_text, render
from edgepack.spec.signature import Sample, TensorSpec

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
    stderr assert
"""
_KEYWORDS = frozenset(_WORDS.split())
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
        return {**files, "model.onnx": app.bundle.model, "golden.bin": _golden(app)}


def _context(app: App) -> dict[str, object]:
    signature, golden = app.signature, app.bundle.golden
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in _TYPES:
            raise _cannot(f"{spec.name!r} holds strings")
    symbols: dict[str, int] = {}
    for spec in signature.inputs:
        shape = golden.inputs[spec.name].shape[1:]
        if len(shape) != len(spec.shape) or None in spec.shape:
            raise _cannot(f"input {str(spec)!r} leaves a dimension without a name")
        symbols |= {
            dim: size for dim, size in zip(spec.shape, shape, strict=True) if isinstance(dim, str)
        }
    for spec in signature.outputs:
        known = all(isinstance(dim, int) or dim in symbols for dim in spec.shape)
        if not known or golden.outputs[spec.name].ndim - 1 != len(spec.shape):
            raise _cannot(f"output {str(spec)!r} has a size that no input decides")
    sizes = identifiers(symbols, _KEYWORDS)
    name = identifiers([app.name], _KEYWORDS)[app.name]
    inputs = _tensors(signature.inputs, sizes, golden.inputs)
    outputs = _tensors(signature.outputs, sizes, golden.outputs)
    order = {spec.name: i for i, spec in enumerate(signature.inputs)}
    return {
        **app.context,
        "name": name,
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


def _tensors(
    specs: tuple[TensorSpec, ...], sizes: dict[str, str], golden: Sample
) -> list[dict[str, object]]:
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
