"""The names of devices over ssh."""

import json
from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.cli import doctor
from edgepack.runtime import runners
from edgepack.runtime.remote.address import parse
from edgepack.runtime.remote.link import wrapped


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("//board", ["--", "board"]),
        ("//pi@board.local:2222", ["-l", "pi", "-p", "2222", "--", "board.local"]),
        ("//pi@[fe80::1%eth0]:22/", ["-l", "pi", "-p", "22", "--", "fe80::1%eth0"]),
    ],
)
def test_a_name_becomes_arguments_of_ssh(text: str, arguments: list[str]) -> None:
    assert parse(text).arguments == arguments


@pytest.mark.parametrize("text", ["//board", "//pi@board:2222", "//pi@[fe80::1%eth0]:22"])
def test_a_name_is_printed_as_it_was_typed(text: str) -> None:
    assert str(parse(text)) == f"ssh:{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "board",
        "//",
        "//-oProxyCommand=x",
        "//-l@board",
        "//a b",
        "//board:0",
        "//board:70000",
        "//board/path",
        "//a;b",
        "//$(x)@board",
        "//board\n",
        "//pi@@board",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert caught.value.hint == "type ssh://[user@]host[:port]"


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        parse("//pi:secret@board")
    assert "secret" not in str(caught.value)


def test_a_script_is_one_quoted_word_for_any_shell() -> None:
    command = wrapped("echo $x", "mark")
    assert command.startswith("exec sh -c '")
    assert "!" not in command


def test_the_doctor_names_what_travels_to_devices_without_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    doctor.doctor(json=True)
    missing = json.loads(capsys.readouterr().out)["missing"]
    for arch in ("aarch64", "x86_64"):
        assert missing[f"the runner for {arch} devices without Python"] == runners.PREPARE
    assert {"gcc", "gcc-aarch64-linux-gnu"} & set(" ".join(missing.values()).split())


def test_the_doctor_names_the_package_of_a_missing_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPACK_SSH", "no-such-ssh")
    doctor.doctor(json=True)
    assert "apt-get install openssh-client" in capsys.readouterr().out
