"""Every form of MODEL builds: a file of Python, a package's module, a program, a project."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepack.base.errors import EdgepackError
from edgepack.build import run
from edgepack.intake.request import Request
from edgepack.report.built import Built

MODULE = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Linear(8, 3)

    def forward(self, image):
        x = torch.relu(self.norm(self.first(image)))
        return {"scores": self.second(x.mean((2, 3)))}


def make():
    return Net()


example_inputs = (torch.zeros(1, 1, 6, 6),)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "calib.npz", image=rng.random((40, 1, 6, 6), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(**fields: object) -> Built:
    (outcome,) = run(Request(calib="calib.npz", targets=("web",), **fields))  # type: ignore[arg-type]
    if isinstance(outcome, EdgepackError):
        raise outcome
    return outcome


def test_a_file_of_python_builds_and_names_the_bundle(folder: Path) -> None:
    result = built(model="net.py:make")
    assert result.path == Path("dist/net-web.edgepack")
    assert result.manifest.lineage.exporter == "dynamo"
    assert result.manifest.precision.operators["Conv"] == {"int8": 1}
    assert result.manifest.outputs[0].name == "scores"
    assert str(folder) not in result.path.read_bytes().decode("latin-1")


@pytest.mark.usefixtures("folder")
def test_a_module_by_its_dotted_name_builds_the_same() -> None:
    assert built(model="net:make").manifest.lineage.model_sha256 == (
        built(model="net.py:make", force=True).manifest.lineage.model_sha256
    )


def test_a_program_of_torch_export_builds(folder: Path) -> None:
    script = (
        "import torch, net\n"
        "batch = torch.export.Dim('batch', min=1, max=64)\n"
        "program = torch.export.export(net.make().eval(), (torch.zeros(2, 1, 6, 6),),"
        " dynamic_shapes=({0: batch},))\n"
        "torch.export.save(program, 'net.pt2')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=folder)
    result = built(model="net.pt2")
    assert isinstance(result.manifest.inputs[0].shape[0], str)


def test_weights_of_a_project_are_loaded_without_pickle(folder: Path) -> None:
    namespace: dict[str, object] = {}
    exec(compile(MODULE, "net.py", "exec"), namespace)
    module = namespace["Net"]()  # type: ignore[operator]
    with torch.no_grad():
        module.second.bias.fill_(5.0)
    torch.save(module.state_dict(), folder / "weights.pt")
    (folder / "edgepack.toml").write_text(
        '[model]\nname = "net"\nsource = "net.py:make"\nweights = "weights.pt"\n'
        'dynamic = {image = ["batch"]}\n[data]\ncalibration = "calib.npz"\n'
    )
    (outcome,) = run(Request(targets=("web",)))
    assert isinstance(outcome, Built)
    from edgepack.bundle.open import open_bundle

    golden = open_bundle(outcome.path).golden
    assert golden.outputs["scores"].min() > 3.0  # the bias that only the file holds


def test_a_pickled_module_is_refused_and_never_run(folder: Path) -> None:
    script = (
        "import torch, os\n"
        "class Bomb:\n"
        "    def __reduce__(self):\n"
        "        return os.mkdir, ('exploded',)\n"
        "torch.save(Bomb(), 'bomb.pt')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=folder)
    with pytest.raises(EdgepackError) as caught:
        built(model="bomb.pt")
    assert caught.value.code == "E-PICKLE"
    assert caught.value.exit_code == 7
    assert not (folder / "exploded").exists()
