"""An app in Python: one typed module over numpy and onnxruntime."""

import builtins
import keyword
import sys
from pathlib import Path

import msgspec

from edgepack.base.files import sha256
from edgepack.bundle.golden import encode
from edgepack.embed import App, identifiers, plain_text, render
from edgepack.runtime import raw
from edgepack.spec.preprocess import Audio, Text, kind
from edgepack.spec.signature import TensorSpec

_RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "os", "self", "hashlib", "Path"}
)

_OURS = {"selftest", "raw_image", "raw_text", "raw_audio", "numpy", "onnxruntime"}
_MODULES = frozenset(_OURS | sys.stdlib_module_names)


class Python:
    """Writes the module, its self-test, the model and the golden samples."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app; every model that edgepack ships is taken."""
        signature = app.signature
        context = {
            **app.context,
            "name": identifiers([app.name], _RESERVED | _MODULES)[app.name],
            "inputs": _arguments(signature.inputs),
            "fed": _arguments(signature.fed),
            "outputs": _arguments(signature.outputs),
            "reported": _arguments(signature.reported),
            "state": signature.state,
            "rule": _rule(app),
        }
        return {
            **_raw(app),
            f"{context['name']}.py": render("python/module.py.jinja", context),
            "selftest.py": render("python/selftest.py.jinja", context),
            "README.md": render("python/README.md.jinja", context),
            "model.onnx": app.bundle.model,
            "golden.npz": encode(app.bundle.golden),
        }


def _rule(app: App) -> dict[str, object] | None:
    """Return what the templates say of raw input."""
    rule = app.bundle.preprocess
    if rule is None:
        return None
    fields = msgspec.structs.asdict(rule)
    facts: dict[str, object] = {
        "kind": kind(rule),
        "fields": {name: ascii(value) for name, value in fields.items() if name != "input"},
        "input": rule.input,
        "resizes": getattr(rule, "resize", "none") != "none",
        "dtype": app.signature.input(rule.input).dtype,
    }
    if isinstance(rule, Audio):
        shape = app.signature.input(rule.input).shape
        facts |= {"step": rule.step, "shape": (*(1 for _ in shape[:-1]), rule.frame)}
    if isinstance(rule, Text):
        facts["sha256"] = sha256(app.bundle.extras[f"assets/{rule.vocabulary}"])
        facts["mask"] = rule.mask
        facts["mask_dtype"] = app.signature.input(rule.mask).dtype if rule.mask else ""
    return facts


def _raw(app: App) -> dict[str, bytes]:
    """Return the reference implementation as it is, and the file that it reads."""
    rule = app.bundle.preprocess
    if rule is None:
        return {}
    files = {f"raw_{kind(rule)}.py": Path(raw.__file__).with_name(f"{kind(rule)}.py")}
    found = {name: path.read_bytes() for name, path in files.items()}
    if isinstance(rule, Text):
        found[rule.vocabulary] = app.bundle.extras[f"assets/{rule.vocabulary}"]
    return found


def _arguments(specs: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
    names = identifiers([spec.name for spec in specs], _RESERVED)
    return [
        {
            "name": spec.name,
            "argument": names[spec.name],
            "type": "str_"
            if spec.dtype == "str"
            else "bool_"
            if spec.dtype == "bool"
            else spec.dtype,
            "dtype": spec.dtype,
            "shape": spec.shape,
            "said": plain_text(str(spec)),
        }
        for spec in specs
    ]
