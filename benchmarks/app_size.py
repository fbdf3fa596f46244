"""Bytes of the generated C app for aarch64, beside the runtime; no clock is involved.

python benchmarks/app_size.py dist/digits-arm64.edgepack > benchmarks/results/app_size.json

A reduced runtime is not built here. What it would save is the finding of others, with its source:
a Transformer's operators alone, Android's library for arm64.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from edgepack.base.files import sha256
from edgepack.bundle.open import open_bundle
from edgepack.embed import embed
from edgepack.runtime import emulation

COMPILER = "aarch64-linux-gnu-gcc"
REDUCED = {
    "built here": False,
    "full": 27_000_000,
    "reduced": 11_000_000,
    "source": "https://github.com/cantoo-scribe/capacitor-onnx, docs/reduced-onnx.md",
}


def main(path: str) -> None:
    """Build the app with the model apart and built in, stripped, and print all sizes."""
    bundle = open_bundle(path)
    library = emulation.find().folder / "ort" / emulation.RUNTIME_LIBRARY
    sizes = {"model": len(bundle.model), "runtime": library.stat().st_size}
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        embed(bundle, "c", app)
        for name, option in (("program", ""), ("program with the model", "EMBED_MODEL=1")):
            make = ["make", "-B", f"CC={COMPILER}", "CFLAGS=-Os -s", *option.split()]
            subprocess.run(make, cwd=app, check=True, capture_output=True)
            sizes[name] = (app / "selftest").stat().st_size
    print(
        json.dumps(
            {
                "bundle": bundle.manifest.name,
                "sha256": sha256(bundle.model),
                "compiler": COMPILER,
                "flags": "-Os -s",
                "bytes": sizes,
                "runtime reduced to the operators of a model": REDUCED,
                "operators": bundle.extras["required_operators.config"].decode().splitlines(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
