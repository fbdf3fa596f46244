"""Bundles open in the oldest ONNX Runtime that their target promises: a real wheel of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgepack.build import run
from edgepack.graph.storage import store
from edgepack.intake.request import Request
from edgepack.report.built import Built
from edgepack.spec import target
from tests.projects import write_stripes
from tests.unit.test_storage import codes, product, thin

PYTHON = Path(__file__).parents[2] / ".venv-oldest" / "bin" / "python"

OPEN = """
import json, sys
from edgepack.bundle.open import open_bundle
from edgepack.bundle.golden import judge
from edgepack.runtime.session import Options, Session, version
bundle = open_bundle(sys.argv[1])
session = Session(bundle.model, Options(exact=sys.argv[2] == "exact"))
runs = [session.run(sample) for sample in bundle.golden.samples]
test = judge(bundle.golden, bundle.manifest.golden.tolerance, runs)
print(json.dumps({"runtime": version(), "passed": test.passed, "largest": test.largest}))
"""


@pytest.fixture(scope="module")
def oldest() -> Path:
    if not PYTHON.exists():
        message = "scripts/setup makes .venv-oldest"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return PYTHON


def test_sparse_weights_open_there_and_compute_the_same(oldest: Path, tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from edgepack.runtime.session import Session\n"
        "x = {'x': np.linspace(-1, 1, 384, dtype='f4').reshape(3, 128)}\n"
        "a, b = (Session(open(p, 'rb').read()).run(x)['y'] for p in sys.argv[1:])\n"
        "assert (a == b).all() and a.any()\n"
    )
    for made in (product(thin(0.05)), codes(thin(0.05, "int8"))):
        stored = store(made, "sparse_initializer")
        assert stored.sparse
        dense, sparse = tmp_path / "dense.onnx", tmp_path / "sparse.onnx"
        dense.write_bytes(made)
        sparse.write_bytes(stored.data)
        result = subprocess.run(
            [oldest, "-c", script, dense, sparse], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["x86_64", "x86_64-vnni", "arm64", "arm64-i8mm", "web"])
def test_a_bundle_opens_and_passes_its_self_test_there(
    oldest: Path, tmp_path: Path, name: str
) -> None:
    folder = write_stripes(tmp_path)
    request = Request(
        model=str(folder / "model.onnx"),
        targets=(name,),
        calib=str(folder / "calib.npz"),
        require="int8",  # so small a net is no smaller in int8
        out=folder / "dist",
    )
    (built,) = run(request)
    assert isinstance(built, Built)
    mode = "default" if name == "x86_64" else "exact"
    result = subprocess.run(
        [oldest, "-c", OPEN, built.path, mode], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["runtime"].startswith(target.load(name).min_runtime + ".")
    assert all(found["passed"].values()), found
