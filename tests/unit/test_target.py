from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.spec import target

FACTS = """
summary     = "a board"
arch        = "aarch64"
sources     = ["arch: its data sheet"]
providers   = ["CPUExecutionProvider"]
min_runtime = "1.20"
max_opset   = 21
max_ir      = 10
"""


def write(folder: Path, name: str, text: str = FACTS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_project_adds_targets_of_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "targets", "board")
    assert "board" in target.names(folder)
    found = target.load("board", folder)
    assert (found.name, found.origin, found.int8) == ("board", "project", None)
    assert not target.shadows(found)


def test_a_project_shadows_a_built_in_target_and_it_shows(tmp_path: Path) -> None:
    folder = write(tmp_path / "targets", "arm64")
    found = target.load("arm64", folder)
    assert found.summary == "a board"
    assert target.shadows(found)
    assert not target.shadows(target.load("arm64", tmp_path))


def test_the_checkout_of_edgepack_is_no_project_that_shadows() -> None:
    assert target.load("arm64", target.BUILT_IN).origin == "built-in"


def test_an_unknown_target_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no target named 'raspbery-pi-5'") as caught:
        target.load("raspbery-pi-5", tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("E-TARGET", 2)
    assert caught.value.hint == "did you mean 'raspberry-pi-5'?"


def test_a_target_is_a_name_and_not_a_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "targets", "board")
    with pytest.raises(RequestError, match="no target named"):
        target.load("../targets/board", folder)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("max_opsett = 21", "did you mean 'max_opset'?"),
        ("[int8]\nactivations = 'uint8'\nsaturate = true", "did you mean 'saturating'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(
    tmp_path: Path, line: str, hint: str
) -> None:
    folder = write(tmp_path, "board", f"{FACTS}{line}\n")
    with pytest.raises(RequestError, match="unknown field") as caught:
        target.load("board", folder)
    assert caught.value.hint == hint


@pytest.mark.parametrize("key", ["name", "origin"])
def test_a_file_does_not_name_itself(tmp_path: Path, key: str) -> None:
    folder = write(tmp_path, "board", f"{key} = 'built-in'\n{FACTS}")
    with pytest.raises(RequestError, match=f"'{key}' is no fact"):
        target.load("board", folder)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"CPUExecutionProvider"', "", "length >= 1"),
        ('"1.20"', '"newest"', "regex"),
        ("= 10", "= 'ten'", "Expected `int`|expected `int`"),
        ("", "[int8]\nactivations = 'uint8'\nsymmetric = true", "symmetric activations are int8"),
        ("", "channel_multiple = 0", ">= 1"),
    ],
)
def test_a_fact_that_cannot_be_true_is_refused(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = FACTS.replace(old, new) if old else f"{FACTS}{new}\n"
    with pytest.raises(RequestError, match=complaint):
        target.load("board", write(tmp_path, "board", text))


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ({"avx2", "fma", "avx_vnni"}, ()),
        ({"avx2", "fma", "avx512_vnni"}, ()),
        ({"avx2", "fma"}, ("avx512_vnni|avx_vnni",)),
        ({"avx_vnni"}, ("avx2", "fma")),
    ],
)
def test_a_feature_with_a_bar_asks_for_either(present: set[str], missing: tuple[str, ...]) -> None:
    assert target.lacking(("avx2", "fma", "avx512_vnni|avx_vnni"), present) == missing


def test_a_folder_of_targets_that_cannot_be_looked_into_is_the_fault_of_the_request() -> None:
    with pytest.raises(RequestError, match="file name too long"):
        target.load("arm64", Path("x" * 300))
