import os
from pathlib import Path

import msgspec
import pytest

from edgepack.base.errors import RequestError
from edgepack.spec.decode import decode, read_toml
from edgepack.spec.project import Project


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    level: int = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner | None = None
    width: int = 0


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({"wdth": 1}, "did you mean 'width'?"),
        ({"inner": {"lvel": 1}}, "did you mean 'level'?"),
        ({"inner": {"width": 1}}, "known: level"),
        ({"level": 1}, "known: inner, width"),
    ],
)
def test_the_hint_knows_the_table(data: object, hint: str) -> None:
    with pytest.raises(RequestError, match="unknown field") as caught:
        decode(Outer, data, "a file")
    assert caught.value.hint == hint


def test_a_key_in_the_wrong_table_is_not_offered_to_itself() -> None:
    with pytest.raises(RequestError) as caught:
        decode(Project, {"source": "model.onnx"}, "edgepack.toml")
    assert caught.value.hint == "known: build, data, model, preprocess"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = " + b"[" * 20_000, "nested too deep"),
        (b"a = " + b"9" * 10_000, "digits"),
        (b"a = '\xff'", "utf-8"),
        (b"#" * 1_000_001, "the limit is 1000000"),
        (b"a = ", "cannot read"),
    ],
)
def test_a_file_that_is_no_sane_toml_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text)
    with pytest.raises(RequestError, match=said) as caught:
        read_toml(path)
    assert caught.value.hint
    assert "a.toml" in str(caught.value)


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.toml", tmp_path / "zero.toml", tmp_path, Path("x" * 300)):
        with pytest.raises(RequestError, match="cannot read"):
            read_toml(path)
