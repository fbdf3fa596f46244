"""Projects of ``edgepack init``, with data that nobody made where theirs is not shipped."""

import subprocess
import sys
from pathlib import Path

import pytest

import edgepack
from edgepack.spec import project
from edgepack.spec.project import Project
from tests.mails import write_mails
from tests.sounds import write_sounds, write_teacher

TEMPLATES = Path(edgepack.__file__).parent / "templates"


def copied(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a project to ``folder``, make its data beside it, and go there."""
    data = folder.parent
    if name == "text":
        monkeypatch.setenv("SPAM_ASSASSIN", str(write_mails(data / "mails")))
    if name == "voice":
        monkeypatch.setenv("ASTERISK", str(write_sounds(data / "asterisk")))
        monkeypatch.setenv("SILERO_VAD", str(write_teacher(data / "teacher.onnx")))
    folder.mkdir()
    for path in (TEMPLATES / name).iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(folder)
    return folder


def built(name: str, folder: Path) -> Path:
    """Copy a project to ``folder``, train and build it for arm64, and return its bundle."""
    with pytest.MonkeyPatch.context() as patch:
        copied(name, folder, patch)
        if (folder / "train.py").exists():
            subprocess.run([sys.executable, "train.py"], check=True, stdout=subprocess.DEVNULL)
        return edgepack.build(target="arm64", prefer="size").path.resolve()


def declared(folder: Path) -> Project:
    """Return what the project of a folder says."""
    found = project.load(folder)
    assert found is not None
    return found
