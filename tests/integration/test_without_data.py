"""Builds without calibration data: ranges found at run time, weights in fewer bits."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgepack
from edgepack.build import run
from edgepack.bundle.open import open_bundle
from edgepack.graph.write import to_bytes
from edgepack.intake.request import Request
from edgepack.report.built import Built
from edgepack.runtime import emulation
from tests import graphs
from tests.integration.test_oldest_runtime import OPEN, PYTHON
from tests.models import weight
from tests.projects import write_stripes

node = onnx.helper.make_node
RECIPES = ("int8", "int8-dynamic", "int8-weights", "int4-weights")


def speech() -> ir.Model:
    """A table, an LSTM, a GRU and a wide pair of matrices: a little of everything."""
    return graphs.network(
        [
            node("Cast", ["x"], ["ids"], name="ids", to=onnx.TensorProto.INT64),
            node("Gather", ["table", "ids"], ["e"], name="table"),
            node("LSTM", ["e", "w", "r"], ["h"], name="lstm", hidden_size=64),
            node("Squeeze", ["h", "one"], ["s"], name="squeeze"),
            node("MatMul", ["s", "up"], ["u"], name="up"),
            node("Relu", ["u"], ["ur"], name="relu"),
            node("MatMul", ["ur", "down"], ["d"], name="down"),
            node("GRU", ["d", "gw", "gr"], ["y"], name="gru", hidden_size=16),
        ],
        {
            "table": weight(600, 64, seed=1),
            "w": weight(1, 256, 64, seed=2) / 8,
            "r": weight(1, 256, 64, seed=3) / 8,
            "one": np.array([1], np.int64),
            "up": weight(64, 512, seed=4) / 8,
            "down": weight(512, 64, seed=5) / 16,
            "gw": weight(1, 48, 64, seed=6) / 8,
            "gr": weight(1, 48, 16, seed=7) / 4,
        },
        shape=[6, 1],
    )


def build(tmp_path: Path, target: str, recipe: str, **options: object) -> Built:
    model = tmp_path / "speech.onnx"
    model.write_bytes(to_bytes(speech()))
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for index in range(8):
        words = np.random.default_rng(index).integers(0, 600, (6, 1)).astype(np.float32)
        np.savez(folder / f"{index}.npz", x=words)
    request = Request(
        model=str(model),
        targets=(target,),
        recipe=recipe,
        evaluation=str(folder),
        metric="cosine",
        max_drop=0.02,  # 4 bits, rounded to nearest, lose 0.01 here
        prefer="size",
        out=tmp_path / "dist",
        **options,  # type: ignore[arg-type]
    )
    (built,) = run(request)
    if not isinstance(built, Built):
        raise built
    return built


INTEGER = {"DynamicQuantizeLSTM": {"int8": 1}, "MatMulInteger": {"int8": 2}, "Gather": {"int8": 1}}
EXPECTED = {
    "int8": INTEGER | {"GRU": {"float32": 1}},
    "int8-dynamic": INTEGER | {"GRU": {"float32": 1}},
    "int8-weights": {op: {"int8": n} for op, n in {"LSTM": 1, "GRU": 1, "MatMul": 2}.items()},
    "int4-weights": {"MatMulNBits": {"int4": 2}, "LSTM": {"int8": 1}, "GRU": {"int8": 1}},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("target", ["x86_64", "x86_64-vnni"])
def test_a_build_says_what_it_did(tmp_path: Path, target: str, recipe: str) -> None:
    built = build(tmp_path, target, recipe)
    table = built.manifest.precision.operators
    assert table.items() >= EXPECTED[recipe].items()
    assert built.manifest.size.model_bytes < 0.35 * built.manifest.size.float_bytes
    if target == "x86_64":  # a machine without VNNI refuses the other
        assert all(edgepack.load(built.path).selftest().passed.values())
    if recipe in {"int8", "int8-dynamic"}:
        assert "kernel" in built.manifest.precision.left_in_float["gru"]
        assert "lstm" not in built.manifest.precision.left_in_float


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_oldest_promised_runtime_opens_it(tmp_path: Path, recipe: str) -> None:
    if not PYTHON.exists():
        message = "scripts/setup makes .venv-oldest"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    built = build(tmp_path, "x86_64", recipe)
    done = subprocess.run(
        [PYTHON, "-c", OPEN, built.path, "default"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(json.loads(done.stdout)["passed"].values())


@pytest.mark.parametrize("recipe", ["int8-dynamic", "int4-weights"])
def test_emulated_arm_computes_the_same(tmp_path: Path, recipe: str) -> None:
    if gaps := emulation.missing():
        text = f"{gaps[0][0]} is missing: {gaps[0][1]}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    built = build(tmp_path, "arm64", recipe)
    for entry in built.manifest.executed:
        assert entry.device.startswith("qemu:"), entry.note
        assert max(entry.largest.values()) < 1e-5, "float sums in another order, and no more"


def test_int8_can_be_required_without_data_where_ranges_are_found_at_run_time(
    tmp_path: Path,
) -> None:
    built = build(tmp_path, "x86_64", "int8-dynamic", require="int8")
    assert built.manifest.precision.operators["MatMulInteger"] == {"int8": 2}


@pytest.mark.parametrize("recipe", ["int8", "int8-dynamic"])
def test_a_convolutional_net_without_data_stays_float_and_says_why(
    tmp_path: Path, recipe: str
) -> None:
    folder = write_stripes(tmp_path)
    request = Request(
        model=str(folder / "model.onnx"), targets=("x86_64",), recipe=recipe, out=tmp_path / "dist"
    )
    (built,) = run(request)
    assert isinstance(built, Built)
    kinds = {kind for counts in built.manifest.precision.operators.values() for kind in counts}
    assert kinds == {"float32"}
    left = built.manifest.precision.left_in_float
    assert (
        left["first"]
        == {
            "int8": "there are no calibration data",
            "int8-dynamic": "ranges at run time make a convolution slower than float",
        }[recipe]
    )


def test_weights_alone_take_a_quarter_of_a_convolutional_net(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(
        to_bytes(
            graphs.network(
                [node("Conv", ["x", "w"], ["y"], name="conv")],
                {"w": weight(64, 64, 3, 3) / 24},
                shape=[1, 64, 8, 8],
            )
        )
    )
    (built,) = run(
        Request(model=str(model), targets=("x86_64",), recipe="int8-weights", out=tmp_path / "dist")
    )
    assert isinstance(built, Built)
    assert open_bundle(built.path).manifest.precision.operators["Conv"] == {"int8": 1}
    assert built.manifest.size.model_bytes < 0.27 * built.manifest.size.float_bytes
