"""What the contract lets a bundle hold: names, sizes, and a manifest that fits them.

Pure functions that return a sentence, or None where all is well. The reader refuses with it; the
writer reads back what it wrote, so no bundle ships that a reader would refuse.
"""

import re
from collections.abc import Collection, Mapping

from edgepack.bundle.golden import Array, Golden
from edgepack.spec.manifest import Manifest
from edgepack.spec.preprocess import Audio, Image, Rule, Text, misfit, shape
from edgepack.spec.signature import Signature, TensorSpec

MANIFEST, MODEL, GOLDEN = "manifest.json", "model.onnx", "golden.npz"
PREPROCESS = "preprocess.json"
OPERATORS = "required_operators.config"

TOTAL = (1 << 32) - 1
"""Bytes of a bundle, and of what is in it; zip without zip64 says no larger number."""

MEMBERS = 64
"""Members of a bundle, assets included."""

_MEGA = 1 << 20
_CAPS = {
    MANIFEST: 16 * _MEGA,
    MODEL: (1 << 31) - 1,  # protobuf cannot parse more
    GOLDEN: 256 * _MEGA,
    PREPROCESS: _MEGA,
    OPERATORS: _MEGA,
}
_ASSET = re.compile(r"assets/[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,99}")
_ASSET_CAP = 256 * _MEGA

SESSION = frozenset(
    {
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "optimization.enable_gelu_approximation",
        "session.disable_double_qdq_remover",
        "session.disable_prepacking",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.qdqisint8allowed",
        "session.set_denormal_as_zero",
        "session.x64quantprecision",
    }
)
"""Config entries a manifest may set. Others can name files and folders to read or write
(``session.model_external_initializers_file_folder_path``, ``ep.context_file_path``)."""

LEVELS = ("all", "extended", "basic", "disable")
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
DTYPES = frozenset({"bool", "float16", "float32", "float64", "str"} | _INTEGERS)
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def cap(name: str) -> int | None:
    """Return the most bytes a member of this name may have; None for a name that is not allowed."""
    return _CAPS.get(name, _ASSET_CAP if _ASSET.fullmatch(name) else None)


def bad_names(names: tuple[str, ...]) -> str | None:
    """Check member names, in the order of the archive."""
    for name in names:
        if cap(name) is None:
            return f"a bundle has no member {name!r}"
    if list(names) != sorted(names, key=lambda name: (name != MANIFEST, name)):
        return "its members are not in order, manifest.json first"
    if missing := {MANIFEST, MODEL, GOLDEN} - set(names):
        return f"it lacks {', '.join(sorted(missing))}"
    if len({name.casefold() for name in names}) != len(names):
        return "two member names differ only in case"
    return None


def too_big(sizes: Mapping[str, int]) -> str | None:
    """Check the declared sizes of members whose names are good."""
    for name, size in sizes.items():
        if (most := cap(name)) is not None and size > most:
            return f"{name!r} has {size} bytes, a bundle holds at most {most}"
    if sum(sizes.values()) > TOTAL:
        return f"its members have {sum(sizes.values())} bytes, a bundle holds at most {TOTAL}"
    return None


def bad_files(manifest: Manifest, sizes: Mapping[str, int]) -> str | None:
    """Check that the manifest lists exactly the members beside it, with their sizes."""
    listed = {name: member.bytes for name, member in manifest.files.items()}
    there = {name: size for name, size in sizes.items() if name != MANIFEST}
    if listed != there:
        odd = sorted({name for name, _ in listed.items() ^ there.items()})
        return f"its manifest and its members disagree on {', '.join(map(repr, odd))}"
    if not all(_DIGEST.fullmatch(member.sha256) for member in manifest.files.values()):
        return "a sha256 in its manifest is none"
    return None


def bad_manifest(manifest: Manifest) -> str | None:
    """Check what types alone do not say: names, tolerances, state, session options."""
    inputs, outputs = ({spec.name for spec in side} for side in _sides(manifest))
    specs = [*manifest.inputs, *manifest.outputs]
    state = manifest.state
    if len(inputs) + len(outputs) != len(specs) or not inputs or not outputs:
        return "its manifest names an input or an output twice, or none"
    if odd := [str(spec) for spec in specs if not _sound(spec)]:
        return f"its manifest describes {odd[0]!r}, which no model takes"
    fed = set(state.values())
    if not (state.keys() <= outputs and fed <= inputs and len(fed) == len(state)):
        return "its manifest carries state between tensors that the model lacks"
    if manifest.golden.tolerance.keys() != outputs:
        return "its manifest does not give one tolerance per output"
    if not all(0 <= far < float("inf") for far in manifest.golden.tolerance.values()):
        return "a tolerance in its manifest is not a finite number, 0 or more"
    return _bad_runtime(manifest)


def _sides(manifest: Manifest) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    return manifest.inputs, manifest.outputs


def _sound(spec: TensorSpec) -> bool:
    return spec.dtype in DTYPES and all(d >= 0 for d in spec.shape if isinstance(d, int))


def _bad_runtime(manifest: Manifest) -> str | None:
    runtime = manifest.runtime
    if not _VERSION.fullmatch(runtime.min_onnxruntime):
        return f"its runtime floor {runtime.min_onnxruntime!r} is no version"
    for key, value in runtime.session.items():
        if key == "intra_op_num_threads":
            good = isinstance(value, int) and 0 <= value <= 1024
        elif key == "graph_optimization_level":
            good = value in LEVELS
        else:
            good = key in SESSION and len(str(value)) <= 64
        if not good:
            return f"session option {key!r} may not be set to {value!r:.80} by a bundle"
    return None


def bad_golden(manifest: Manifest, golden: Golden) -> str | None:
    """Check that the golden arrays are what the manifest says the model takes and gives."""
    if golden.n != manifest.golden.n:
        return f"its manifest says {manifest.golden.n} golden samples, there are {golden.n}"
    for specs, arrays in zip(_sides(manifest), (golden.inputs, golden.outputs), strict=True):
        if {spec.name for spec in specs} != arrays.keys():
            return "its golden samples have other names than the model"
        for spec in specs:
            array = arrays[spec.name]
            dtype = "str" if array.dtype.kind == "U" else array.dtype.name
            if dtype != spec.dtype or not _fits(array.shape[1:], spec.shape):
                return f"its golden {spec.name!r} is not {spec}"
    return None


def bad_preprocess(
    rule: Rule | None, manifest: Manifest, golden: Golden, extras: Collection[str]
) -> str | None:
    """Check that raw input becomes what the model takes, by an example that is there."""
    if rule is None:
        return "its golden samples have raw inputs and nothing says whose" if golden.raw else None
    signature = Signature(manifest.inputs, manifest.outputs, dict(manifest.state))
    if reason := misfit(rule, signature):
        return reason
    if isinstance(rule, Text) and f"assets/{rule.vocabulary}" not in extras:
        return f"it lacks its vocabulary {rule.vocabulary!r}"
    if golden.inputs[rule.input].shape[1:] != shape(rule, signature.input(rule.input)):
        return "its golden samples have another shape than raw input becomes"
    if golden.raw.keys() != {rule.input} or not _is_raw(golden.raw[rule.input], rule):
        return "its golden samples have no raw input of the kind that it takes"
    return None


def _is_raw(array: Array, rule: Rule) -> bool:
    if isinstance(rule, Image):
        return array.dtype == "uint8" and array.ndim == 4 and array.shape[3] == rule.depth
    if isinstance(rule, Audio):
        return array.dtype == "int16" and array.shape[1:] == (rule.frame,)
    return array.dtype.kind == "U" and array.ndim == 1


def _fits(shape: tuple[int, ...], want: tuple[int | str | None, ...]) -> bool:
    """Whether a shape obeys a spec; an empty spec may stand for a rank nobody knows."""
    if not want:
        return True
    pairs = zip(want, shape, strict=False)
    return len(shape) == len(want) and all(w == s for w, s in pairs if isinstance(w, int))


def bad_text(data: object) -> str | None:
    """Check that no string of the manifest can steer the terminal it is printed on."""
    todo = [data]
    while todo:
        item = todo.pop()
        if isinstance(item, str) and _CONTROL.search(item):
            return f"its manifest has control characters: {item[:80]!r}"
        if isinstance(item, dict):
            todo += (*item.keys(), *item.values())
        elif isinstance(item, list):
            todo += item
    return None
