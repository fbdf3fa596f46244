"""An app for Node.js: an ES module with types over onnxruntime-node."""

from edgepack.embed import App, _javascript, render


class Node:
    """Writes the module, its types, a self-test, the model and the golden samples."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app.

        Raises:
            RequestError: JavaScript cannot take a tensor of this model.
        """
        context = _javascript.context(app)
        own = ("runtime.mjs", "selftest.mjs", "package.json", "README.md")
        return {
            **_javascript.module(context),
            **{file: render(f"node/{file}.jinja", context) for file in own},
            **_javascript.raw_files(app),
            "model.onnx": app.bundle.model,
            "golden.bin": b"".join(_javascript.samples(app)),
        }
