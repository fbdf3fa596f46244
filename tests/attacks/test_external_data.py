"""Weights kept outside the model: nothing but a plain file in its own folder is read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.base.errors import EdgepackError, ModelError, SafetyError
from edgepack.graph.read import parse, read
from tests.models import save_external


def refused_file(path: Path, code: str, kind: type[EdgepackError]) -> str:
    with pytest.raises(kind) as caught:
        read(path)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "/etc/passwd",
        "a/../../w.bin",
        "C:\\w.bin",
        "C:w.bin",
        "a\\w.bin",
        "w.bin\0x",
        "",
        "..",
    ],
)
def test_external_data_may_not_leave_the_folder(tmp_path: Path, location: str) -> None:
    refused_file(save_external(tmp_path, location), "E-SEC-PATH", SafetyError)


def symbolic(folder: Path) -> None:
    (folder / "w.bin").rename(folder / "real.bin")
    (folder / "w.bin").symlink_to("real.bin")


def hard(folder: Path) -> None:
    (folder / "other.bin").hardlink_to(folder / "w.bin")


def pipe(folder: Path) -> None:
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")


def folder_of_that_name(folder: Path) -> None:
    (folder / "w.bin").unlink()
    (folder / "w.bin").mkdir()


@pytest.mark.parametrize("trick", [symbolic, hard, pipe, folder_of_that_name])
def test_external_data_must_be_a_plain_file(tmp_path: Path, trick: Callable[[Path], None]) -> None:
    path = save_external(tmp_path)
    trick(tmp_path)
    refused_file(path, "E-SEC-PATH", SafetyError)


def test_external_data_may_not_be_the_folder_itself(tmp_path: Path) -> None:
    refused_file(save_external(tmp_path, "."), "E-SEC-PATH", SafetyError)


def test_external_data_may_not_lie_behind_a_linked_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "w.bin").write_bytes(bytes(48))
    (inside / "sub").symlink_to(outside)
    refused_file(save_external(inside, "sub/w.bin"), "E-SEC-PATH", SafetyError)


def test_missing_and_short_external_data_are_told_apart(tmp_path: Path) -> None:
    path = save_external(tmp_path, "lost.bin")
    assert str(tmp_path / "lost.bin") in refused_file(path, "E-DATA-MISSING", ModelError)
    for entries in ({"offset": "4"}, {"offset": "-4"}, {"offset": "9" * 19}, {"length": "-1"}):
        refused_file(save_external(tmp_path, **entries), "E-DATA-TRUNC", ModelError)
    refused_file(save_external(tmp_path, length="12"), "E-MODEL-CORRUPT", ModelError)
    path = save_external(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(40))
    refused_file(path, "E-DATA-TRUNC", ModelError)


def test_bytes_in_memory_may_not_name_files(tmp_path: Path) -> None:
    with pytest.raises(SafetyError) as caught:
        parse(save_external(tmp_path).read_bytes(), "evil.onnx")
    assert caught.value.code == "E-SEC-PATH"
