import io
import json
import sys

import pytest

from edgepack.base.errors import RequestError
from edgepack.cli import terminal


def ascii_stdout(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    return held


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.complain(RequestError("E-X", "bad\x1b[31m\nname \u202e\udcff", hint="try\x00é"))
    assert capsys.readouterr().err == (
        "error[E-X]: bad\\x1b[31m name \\u202e\\udcff\nhint: try\\x00é\n"
    )


def test_results_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("a\x1bb\nc")
    terminal.table("", ("he\x9bad",), [("ce\x1bll",)])
    terminal.show_json({"name": "\x1b\x7f\x9b図"})
    shown = capsys.readouterr().out
    assert "a\\x1bb\nc\n" in shown
    assert "ce\\x1bll" in shown
    assert '"\\u001b\\u007f\\u009b図"' in shown
    assert not {"\x1b", "\x7f", "\x9b"} & set(shown)


def test_a_narrow_encoding_gets_escapes_and_json_stays_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = ascii_stdout(monkeypatch)
    terminal.say("é")
    terminal.table("", ("é",), [("図",)])
    assert b"\\xe9\n" in held.getvalue()
    assert b"\\u56f3" in held.getvalue()
    held = ascii_stdout(monkeypatch)
    terminal.show_json({"name": "図🙂"})
    assert json.loads(held.getvalue()) == {"name": "図🙂"}


def test_a_pipe_gets_no_colour_even_where_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    terminal.table("title", ("head",), [("cell",)])
    assert "\x1b" not in capsys.readouterr().out


def test_a_closed_stdout_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="stdout is closed"):
        terminal.say("x")
    with pytest.raises(OSError, match="stdout is closed"):
        terminal.show_json({})
    with pytest.raises(OSError, match="stdout is closed"):
        terminal.table("", ("head",), [])


def test_a_full_disk_shows_where_the_line_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with io.FileIO("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        with pytest.raises(OSError, match="space"):
            terminal.say("x")


def test_an_error_that_nobody_can_be_told_is_no_second_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with io.FileIO("/dev/full", "w") as full:
        for stderr in (io.TextIOWrapper(full, write_through=True), None):
            monkeypatch.setattr(sys, "stderr", stderr)
            terminal.complain(RequestError("E-X", "nobody hears this"))
