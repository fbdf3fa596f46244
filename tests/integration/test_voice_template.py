"""The voice template: what its sequences hold, what it says is missing, and up to a bundle."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgepack
from edgepack.base.errors import DataError
from edgepack.base.reference import load_object
from edgepack.data.samples import open_dataset
from edgepack.spec.signature import Signature, TensorSpec
from tests.sounds import write_sounds, write_teacher

VOICE = Path(edgepack.__file__).parent / "templates" / "voice"
FACE = Signature((TensorSpec("audio", "float32", ("batch", "samples")),), ())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASTERISK", str(write_sounds(tmp_path / "asterisk")))
    monkeypatch.setenv("SILERO_VAD", str(write_teacher(tmp_path / "teacher.onnx")))
    folder = tmp_path / "project"
    folder.mkdir()
    for path in VOICE.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(folder)
    return folder


def called(project: Path, ref: str, *given: object) -> Any:
    function: Any = load_object(ref, project)
    return function(*given)


def test_missing_recordings_are_named_with_the_packages_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASTERISK", str(tmp_path))
    copy = tmp_path / "data.py"
    copy.write_text((VOICE / "data.py").read_text())
    data = open_dataset("data.py:training", FACE, labelled=True, folder=tmp_path)
    with pytest.raises(DataError, match="apt-get install asterisk-core-sounds-en-wav"):
        next(iter(data))


def test_a_missing_teacher_is_named_with_the_package_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SILERO_VAD")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps silero-vad"):
        called(project, "teacher.py:path")


def test_each_prompt_gives_one_sequence_of_a_gap_and_speech(project: Path) -> None:
    sequences = list(called(project, "data.py:evaluation"))
    assert len(sequences) == 2 * 4  # what is no speech is left out
    for sample, labels, _ in sequences:
        assert sample["audio"].shape == (1, (13 + len(labels)) * 512)
        assert np.abs(sample["audio"]).max() <= 1
        (starts,) = np.flatnonzero(np.diff(labels))
        assert 30 <= starts <= 63  # one to two seconds of frames of 32 ms
        assert labels[0] == 0
        assert labels[-1] == 1


def test_a_decision_hears_its_frame_and_thirteen_before_it_and_nothing_else(
    project: Path,
) -> None:
    model = called(project, "model.py:make_model")
    audio = torch.randn(1, 17 * 512, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(audio)["scores"]
        last = model(audio[:, 3 * 512 :])["scores"]
        audio[:, : 3 * 512] = 0
        changed = model(audio)["scores"]
    assert whole.shape == (1, 4, 2)
    assert torch.allclose(whole[:, 3:], last, atol=1e-6)
    assert torch.equal(whole[:, 3:], changed[:, 3:])


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_from_recordings_to_a_bundle() -> None:
    subprocess.run([sys.executable, "train.py"], check=True, stdout=subprocess.DEVNULL)
    built = edgepack.build(target="x86_64", prefer="size")
    accuracy = built.manifest.accuracy
    assert accuracy is not None
    assert accuracy.metric == "auc"
    assert accuracy.shipped > 0.9  # a hum is easily told from gaps
    assert built.manifest.size.model_bytes < built.manifest.size.float_bytes
