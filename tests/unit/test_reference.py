import sys
from pathlib import Path

import pytest

from edgepack.base.errors import DataError, RequestError
from edgepack.base.reference import UserCode, load_object


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_a_file_beside_another_can_import_it(tmp_path: Path) -> None:
    write(tmp_path, "beside_of_mine.py", "VALUE = 3")
    write(tmp_path, "mine.py", "from beside_of_mine import VALUE\nanswer = VALUE + 1")
    before = list(sys.path)
    assert load_object("mine.py:answer", tmp_path) == 4
    assert sys.path == before
    assert "mine" not in sys.modules


def test_a_file_runs_once_until_it_is_edited(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "class Thing: pass\nother = Thing")
    thing = load_object("mine.py:Thing", tmp_path)
    assert load_object("mine.py:other", tmp_path) is thing
    write(tmp_path, "mine.py", "class Thing: new = True")
    assert load_object("mine.py:Thing", tmp_path) is not thing


def test_a_dataclass_works_in_a_file_with_deferred_annotations(tmp_path: Path) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass, KW_ONLY\n"
    write(tmp_path, "mine.py", text + "@dataclass\nclass Thing:\n    _: KW_ONLY\n    a: int = 1\n")
    assert load_object("mine.py:Thing", tmp_path)(a=2).a == 2  # type: ignore[operator]


def test_a_module_is_found_by_its_name() -> None:
    assert load_object("math:pi") == pytest.approx(3.14159265)


@pytest.mark.parametrize(
    ("ref", "code", "hint"),
    [
        ("absent.py:name", "E-PATH", "path"),
        ("mine.py:anwser", "E-REFERENCE", "'answer'"),
        ("no_such_module_here:name", "E-REFERENCE", "file.py:name"),
        ("math:pie", "E-REFERENCE", "'pi'"),
        ("mine.py:", "E-REFERENCE", "file.py:name"),
        (":name", "E-REFERENCE", "file.py:name"),
    ],
)
def test_a_reference_to_nothing_says_what_is_near(
    tmp_path: Path, ref: str, code: str, hint: str
) -> None:
    write(tmp_path, "mine.py", "answer = 42")
    with pytest.raises(RequestError) as caught:
        load_object(ref, tmp_path)
    assert caught.value.code == code
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nraise KeyError('weights')\na = 1", "KeyError: 'weights' (mine.py, line 2)"),
        ("import json\njson.loads('{')\na = 1", "(mine.py, line 2)"),
        ("a = = 1", "SyntaxError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (mine.py, line 2)"),
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
    ],
)
def test_code_that_raises_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "mine.py", text)
    before = list(sys.path)
    with pytest.raises(RequestError) as caught:
        load_object("mine.py:a", tmp_path)
    assert caught.value.code == "E-SOURCE"
    assert said in str(caught.value)
    assert caught.value.__cause__ is not None
    assert sys.path == before


def test_a_file_that_raised_is_run_again(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "raise ValueError")
    for _ in range(2):
        with pytest.raises(RequestError, match="ValueError"):
            load_object("mine.py:a", tmp_path)


def test_user_code_may_import_late_and_gets_the_kind_of_error_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "late_of_mine.py", "VALUE = 5")
    write(
        tmp_path, "mine.py", "def f():\n    import late_of_mine\n    return late_of_mine.VALUE / 0"
    )
    call = load_object("mine.py:f", tmp_path)
    with (
        pytest.raises(DataError, match=r"ZeroDivisionError.*mine\.py, line 3"),
        UserCode("mine.py:f", tmp_path, DataError),
    ):
        call()  # type: ignore[operator]


def test_an_interrupt_passes_through() -> None:
    before = list(sys.path)
    with pytest.raises(KeyboardInterrupt), UserCode("x"):
        raise KeyboardInterrupt
    assert sys.path == before


def test_what_user_code_prints_leaves_stdout_to_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "mine.py", "print('on import')\ndef f():\n    print('when called')")
    call = load_object("mine.py:f", tmp_path)
    with UserCode("mine.py:f", tmp_path):
        call()  # type: ignore[operator]
    sys.stdout.write("a result\n")
    said = capsys.readouterr()
    assert said.out == "a result\n"
    assert said.err == "on import\nwhen called\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise MemoryError", "raised MemoryError (mine.py, line 1)"),
        ("class E(BaseException): pass\nraise E('odd')", "raised E: odd (mine.py, line 2)"),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
            "raised E: <exception str() failed> (mine.py, line 3)",
        ),
    ],
)
def test_whatever_user_code_raises_is_named(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "mine.py", text)
    with pytest.raises(RequestError) as caught:
        load_object("mine.py:a", tmp_path)
    assert said in str(caught.value)


def test_a_reference_that_no_file_system_takes_is_refused() -> None:
    for ref in ("a\0b.py:name", "x" * 300 + ".py:name"):
        with pytest.raises(RequestError, match="cannot read"):
            load_object(ref)
