"""Set a project's bundles beside the float model and the hand-picked peer, and keep the figures.

Usage: ``python benchmarks/compare.py PROJECT [BUNDLE ...]`` with PROJECT ``efficientnet_lite0`` or
``silero_vad``. The float ONNX file and the peer's int8 file are made in ``benchmarks/made`` when
they are not there. Writes ``results/peers_PROJECT.json``, or ``results/PROJECT.json`` when
bundles are given. Accuracy is taken in both modes of the runtime; only x86_64 bundles are timed.
"""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(os.path.relpath(Path(__file__).parent))  # figures must not tell where they were made
WORK = HERE / "made"


def run(script: str, *arguments: str) -> str:
    """Run a script of this folder, and return what it printed last: one JSON object."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def model_of(project: Path) -> str:
    """Return the float ONNX file, exported here when the project is a torch module."""
    given = next(project.glob("*.onnx"), None)
    if given:
        return str(given)
    exported = WORK / f"{project.name}.onnx"
    if not exported.exists():
        subprocess.run([sys.executable, str(project / "model.py"), str(exported)], check=True)
    return str(exported)


def peer_of(project: Path, model: str) -> tuple[str, Any]:
    """Return the peer's int8 file, and what making it took."""
    out, notes = WORK / f"{project.name}_peer.onnx", WORK / f"{project.name}_peer.json"
    if not notes.exists():
        printed = run("peers/onnxruntime_static.py", str(project), model, str(out))
        notes.write_text(printed.splitlines()[-1])
    return str(out), json.loads(notes.read_text())


def unpacked(bundle: str) -> str:
    """Return the model inside a bundle as a file of its own, for the timer."""
    out = WORK / f"{Path(bundle).stem}.onnx"
    with zipfile.ZipFile(bundle) as archive:
        out.write_bytes(archive.read("model.onnx"))
    return str(out)


def main(name: str, *bundles: str) -> None:
    """Make what is missing, measure, and write the figures."""
    WORK.mkdir(exist_ok=True)
    project = HERE / "models" / name
    model = model_of(project)
    peer, made = peer_of(project, model)
    own = [unpacked(bundle) for bundle in bundles]
    feeds = str(WORK / f"{name}_input.npz")
    scored = [str(project), model, peer, *own]
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "peer": made,
        "bytes": {path: Path(path).stat().st_size for path in scored[1:]},
        "accuracy": json.loads(run("accuracy.py", "--save-input", feeds, *scored)),
        "accuracy_exact_mode": json.loads(run("accuracy.py", "--exact", *scored)),
    }
    timed = [path for path in own if "x86_64" in Path(path).name]
    figures["timing"] = json.loads(run("neutral_timer.py", feeds, model, peer, *timed))
    target = HERE / "results" / (f"{name}.json" if bundles else f"peers_{name}.json")
    target.write_text(json.dumps(figures, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
