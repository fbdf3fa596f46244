"""The voice template: what its sequences hold, what it says is missing, and up to a bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepack.base.errors import DataError
from edgepack.base.reference import load_object
from edgepack.bundle.open import open_bundle
from edgepack.data.samples import open_dataset
from edgepack.runtime.raw import Preprocessor
from edgepack.spec.signature import Signature, TensorSpec
from tests import templates

VOICE = templates.TEMPLATES / "voice"
FACE = Signature((TensorSpec("audio", "float32", ("batch", "samples")),), ())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return templates.copied("voice", tmp_path / "project", monkeypatch)


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


def test_apps_hear_in_parts_what_training_heard_at_once(project: Path) -> None:
    rule = templates.declared(project).preprocess
    assert rule is not None
    preprocessor = Preprocessor(rule, {}, FACE)
    samples = np.random.default_rng(0).integers(-32768, 32768, 20 * 512, np.int16)
    whole = called(project, "data.py:heard", (samples / 32768).astype(np.float32))
    for start in range(0, len(samples), 512):
        made = preprocessor.next(samples[start : start + 512])["audio"]
        np.testing.assert_array_equal(made, whole[:, start : start + 14 * 512])


@pytest.mark.slow
def test_from_recordings_to_a_bundle(template_bundle: Callable[[str], Path]) -> None:
    bundle = open_bundle(template_bundle("voice"))
    manifest = bundle.manifest
    assert bundle.golden.inputs["audio"].shape == (4, 1, 7168)  # the raw example, and recordings
    accuracy = manifest.accuracy
    assert accuracy is not None
    assert accuracy.metric == "auc"
    assert accuracy.shipped > 0.9  # a hum is easily told from gaps
    assert manifest.size.model_bytes < manifest.size.float_bytes
