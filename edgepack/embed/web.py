"""A static page and an ES module with types over onnxruntime-web: WebAssembly, no build step."""

import json
import zlib
from pathlib import Path

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.embed import App, _javascript, render

_RUNTIME = "1.30.0"
"""Of onnxruntime-web; what the generated pages are tested with."""

_CARRIED = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Of its ``dist``: all that WebAssembly on the CPU needs."""

_AT_ONCE = 3_000
"""Bytes of golden samples that a page may fetch when it opens; it fetches one at least."""

_REST = "golden-rest.bin"
_SCRIPTS = ("page.mjs", "inputs.mjs", "picture.mjs", "runtime.mjs")
_PAGE = ("index.html", "page.css", *_SCRIPTS, "serve.py", "README.md")


class Web:
    """Writes the page, the module of ``node``, a small server, the model and golden samples."""

    carries = True

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app.

        Raises:
            RequestError: JavaScript cannot take a tensor of this model, or the runtime is none.
        """
        context = _javascript.context(app)
        oldest, raw = context["oldest"], context["raw"]
        carried = _carried(app.runtime, oldest) if app.runtime else {}
        data = {"model.onnx": app.bundle.model, **_golden(app), **_javascript.raw_files(app)}
        context |= {
            "carried": bool(carried),
            "runtime": max(_RUNTIME, oldest, key=_order),
            "rest": _REST in data,
            "said": units.size(context["size"]),
        }
        page = (*_PAGE, "sound.mjs") if raw and raw["kind"] == "audio" else _PAGE
        return {
            **_javascript.module(context),
            **{file: render(f"web/{file}.jinja", context) for file in page},
            **{f"{name}.deflate": zlib.compress(content, 9) for name, content in data.items()},
            **carried,
        }


def _golden(app: App) -> dict[str, bytes]:
    """Return what the page checks when it opens, and apart from it what it checks when asked."""
    samples = _javascript.samples(app)
    sizes = [len(zlib.compress(b"".join(samples[: k + 1]), 9)) for k in range(len(samples))]
    count = max(1, sum(size <= _AT_ONCE for size in sizes))
    rest = {_REST: b"".join(samples[count:])} if samples[count:] else {}
    return {"golden.bin": b"".join(samples[:count]), **rest}


def _carried(package: Path, oldest: str) -> dict[str, bytes]:
    """Return the files of onnxruntime-web that the page needs.

    Raises:
        RequestError: The folder is another, or its version is older than the bundle asks for.
    """
    hint = f"give the folder onnxruntime-web of node_modules, version {oldest} or later"
    try:
        said = json.loads((package / "package.json").read_bytes())
        version = str(said["version"]) if said["name"] == "onnxruntime-web" else ""
        files = {f"ort/{name}": (package / "dist" / name).read_bytes() for name in _CARRIED}
    except (OSError, ValueError, KeyError, TypeError):
        version, files = "", {}
    if not version or _order(version) < _order(oldest):
        what = f"holds onnxruntime-web {version}" if version else "is no onnxruntime-web"
        raise RequestError("E-EMBED", f"{str(package)!r} {what}", hint=hint)
    return files


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split("-", maxsplit=1)[0].split(".")]
