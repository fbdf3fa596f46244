"""The recipe that trades nothing but bytes: a real bundle, and the honest sentence about speed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import edgepack
from edgepack.bundle.open import open_bundle
from edgepack.graph.storage import NO_EFFECT

DIGITS = Path(edgepack.__file__).parent / "templates" / "digits"


def test_int8_sparse_builds_the_digits_and_promises_no_speed(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(DIGITS, folder)
    words = ["build", "--recipe", "int8-sparse", "--prefer", "size", "--target", "x86_64"]
    done = subprocess.run(
        [sys.executable, "-m", "edgepack", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(edgepack.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert NO_EFFECT in done.stdout + done.stderr
    bundle = open_bundle(folder / "dist" / "digits-x86_64.edgepack")
    model = onnx.ModelProto.FromString(bundle.model)
    codes = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    weights = [array for array in codes if array.dtype == np.int8 and array.ndim > 1]
    assert weights
    zeros = sum(int(np.count_nonzero(array == 0)) for array in weights)
    assert zeros >= 0.45 * sum(array.size for array in weights)
