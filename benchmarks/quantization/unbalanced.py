"""A depthwise net with unbalanced channels as it ships, with and without ``equalize``.

Usage: ``python benchmarks/quantization/unbalanced.py MODEL.onnx``; the model comes from
``benchmarks/models/unbalanced/model.py``. Ranges are taken on digits that neither trained nor are
evaluated; the figures are those of the manifests, paired with the float model.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(os.path.relpath(Path(__file__).parent))  # figures must not tell where they were made
DIGITS = HERE.parents[1] / "edgepack/templates/digits/data.py"
RECIPES = {"int8": "int8", "equalized": str(HERE.parent / "models/unbalanced/equalized.toml")}


def build(model: str, recipe: str) -> dict[str, Any]:
    """Build a bundle for x86_64 and return what its manifest says."""
    data = ["--calib", f"{DIGITS}:calibration", "--eval", f"{DIGITS}:evaluation"]
    command = [sys.executable, "-m", "edgepack", "build", model, "-t", "x86_64", *data]
    with tempfile.TemporaryDirectory() as folder:
        asked = ["--recipe", recipe, "--prefer", "size", "-o", folder]
        subprocess.run([*command, *asked, "-q"], check=True, stdout=subprocess.DEVNULL)
        (bundle,) = Path(folder).glob("*.edgepack")
        shown = [sys.executable, "-m", "edgepack", "inspect", str(bundle), "--json"]
        done = subprocess.run(shown, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["manifest"]  # type: ignore[no-any-return]


def main(model: str) -> None:
    """Build by each recipe and write accuracy, precision and notes."""
    result: dict[str, Any] = {"command": f"python {shlex.join(sys.argv)}"}
    for name, recipe in RECIPES.items():
        manifest = build(model, recipe)
        result[name] = {key: manifest[key] for key in ("accuracy", "fidelity", "precision")} | {
            "notes": manifest["lineage"].get("notes", [])
        }
        print(name, json.dumps(manifest["accuracy"]))
    (HERE / "unbalanced.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
