"""CPU time of what ``edgepack build`` ships for x86_64, over the float model as given and repaired.

Usage: ``python benchmarks/avx2.py benchmarks/quantization/latency.py [NET ...]``, about two minutes
a net; without names, those that ``latency.json`` lacks. ``repaired`` is what the recipe ``float32``
ships: the same rewrites without integers, so ``shipped`` over it is what int8 alone gains.
Weights are random but those of Silero (``benchmarks/fetch.py``), since time depends on shapes;
random decisions say nothing, so ``--max-drop 1``. Rounds are those of ``neutral_timer.py``. The
interval is that of the median, between order statistics (Conover 1999, Practical Nonparametric
Statistics, section 3.2). All of it stays on one core, so that builds are made for one thread.
"""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

HERE = Path(os.path.relpath(Path(__file__).parent))  # figures must not tell where they were made
sys.path.insert(0, str(HERE.parent))
import nets  # noqa: E402
import neutral_timer  # noqa: E402

RESULT = HERE / "latency.json"
SILERO = HERE.parent / "models/silero_vad"
SAMPLES, ROUNDS = 16, 11
ASKED = {
    "mobilenet_v2": 0.66,
    "resnet18": 0.535,
    "resnet50": 0.535,
    "keyword_cnn": 0.95,
    "keyword_lstm": 0.42,
    "silero_vad": 0.72,
}
RECIPES = {"keyword_lstm": "int8-dynamic"}  # the others take the default


def picture(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return coarse structure with noise, as a photograph has it."""
    coarse = rng.standard_normal((*shape[:-2], 8, 8))
    for axis in (-2, -1):
        coarse = np.repeat(coarse, -(-shape[axis] // 8), axis).take(range(shape[axis]), axis)
    return (coarse + rng.standard_normal(shape) / 2).astype(np.float32)


def project(name: str, folder: Path) -> list[str]:
    """Put a net with random weights and its data in ``folder``; return the arguments of a build."""
    if name == "silero_vad":
        return []
    makers: dict[str, Callable[[], onnx.ModelProto]] = vars(nets)
    model = makers[name]()
    onnx.save(model, folder / "float.onnx")
    shape = tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=np.concatenate([picture(rng, shape) for _ in range(SAMPLES)]))
    data = str(folder / "data.npz")
    return [str(folder / "float.onnx"), "--calib", data, "--max-drop", "1", "-t", "x86_64"]


def build(name: str, folder: Path, arguments: list[str], recipe: str) -> Path:
    """Build a bundle; return its model as a file."""
    out = folder.resolve() / recipe
    command = [sys.executable, "-m", "edgepack", "build", *arguments, "--recipe", recipe]
    place = SILERO if name == "silero_vad" else Path()
    with (folder / f"{recipe}.log").open("w") as log:
        subprocess.run(
            [*command, "-o", out, "--force"], cwd=place, check=True, stdout=log, stderr=log
        )
    (bundle,) = out.glob("*-x86_64.edgepack")
    model = folder / f"{recipe}.onnx"
    with zipfile.ZipFile(bundle) as archive:
        model.write_bytes(archive.read("model.onnx"))
    return model


def feed(model: Path) -> dict[str, np.ndarray]:
    """Return one random input of each kind; a state starts at zero."""
    rng = np.random.default_rng(1)
    feeds = {}
    for each in ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs():
        shape = tuple(dim if isinstance(dim, int) else 1 for dim in each.shape)
        drawn = picture(rng, shape) if each.name == "x" else rng.standard_normal(shape) / 10
        feeds[each.name] = (np.zeros(shape) if each.name in "hc" else drawn).astype(np.float32)
    return feeds


def ratio(of: np.ndarray, over: np.ndarray) -> dict[str, Any]:
    """Return the median of paired ratios with an interval of at least 95 %."""
    found = np.sort(of / over)
    ends = interval(len(found))
    return {"median": float(np.median(found)), "interval": [float(found[end]) for end in ends]}


def interval(count: int) -> tuple[int, int]:
    """Return the places, from 0, of the order statistics that hold the median with 95 %."""
    chances = np.array([1.0])
    for _ in range(count):  # of the number of draws below the median: binomial, one half
        chances = np.convolve(chances, [0.5, 0.5])
    outside = int(np.searchsorted(np.cumsum(chances), 0.025, side="right"))
    return max(outside - 1, 0), min(count - outside, count - 1)


def measure(name: str) -> dict[str, Any]:
    """Build and time one net."""
    folder = HERE.parent / "made/quantization" / name
    folder.mkdir(parents=True, exist_ok=True)
    arguments = project(name, folder)
    given = SILERO / "silero_vad_16k_sequence.onnx" if not arguments else folder / "float.onnx"
    recipe = RECIPES.get(name, "int8")
    paths = [given, *(build(name, folder, arguments, each) for each in ("float32", recipe))]
    feeds, before = feed(given), os.getloadavg()
    turns = range(ROUNDS)
    files = list(map(str, paths))
    rounds = np.array([neutral_timer.one_round(files, feeds, turn) for turn in turns])
    float_, repaired, shipped = rounds.T
    return {
        "recipe": recipe,
        "asked": ASKED[name],
        "shipped_over_float": ratio(shipped, float_),
        "shipped_over_repaired": ratio(shipped, repaired),
        "repaired_over_float": ratio(repaired, float_),
        "cpu_ms": dict(
            zip(("float", "repaired", "shipped"), np.median(rounds, 0) * 1e3, strict=True)
        ),
        "bytes": [path.stat().st_size for path in paths],
        "rounds": len(rounds),
        "load_average": {"before": before, "after": os.getloadavg()},
        "command": f"python benchmarks/avx2.py {shlex.join(sys.argv)}",
        "onnxruntime": ort.__version__,
    }


def main(names: list[str]) -> None:
    """Measure net after net; each lands in the file at once."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in names or [name for name in ASKED if name not in result]:
        result[name] = measure(name)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        found = result[name]["shipped_over_float"]
        low, high = found["interval"]
        print(f"{name}: {found['median']:.3f} [{low:.3f}, {high:.3f}], asked {ASKED[name]}")


if __name__ == "__main__":
    main(sys.argv[1:])
