"""An app in Python: one typed module over numpy and onnxruntime."""

import builtins
import keyword

from edgepack.bundle.golden import encode
from edgepack.embed import App, identifiers, plain_text, render
from edgepack.spec.signature import TensorSpec

_RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "os", "self", "hashlib", "Path"}
)


class Python:
    """Writes the module, its self-test, the model and the golden samples."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app; every model that edgepack ships is taken."""
        signature = app.signature
        context = {
            **app.context,
            "name": identifiers([app.name], _RESERVED | {"selftest"})[app.name],
            "inputs": _arguments(signature.inputs),
            "fed": _arguments(signature.fed),
            "outputs": _arguments(signature.outputs),
            "reported": _arguments(signature.reported),
            "state": signature.state,
        }
        return {
            f"{context['name']}.py": render("python/module.py.jinja", context),
            "selftest.py": render("python/selftest.py.jinja", context),
            "README.md": render("python/README.md.jinja", context),
            "model.onnx": app.bundle.model,
            "golden.npz": encode(app.bundle.golden),
        }


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
