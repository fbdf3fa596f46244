import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgepack.base.errors import MachineError, RequestError
from edgepack.base.files import sha256, write_whole

FULL_DISK = """
import resource, sys
from pathlib import Path
from edgepack.base.errors import MachineError
from edgepack.base.files import write_whole

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), bytes(5000))
except MachineError as error:
    print(error.exit_code, error.code, error)
"""
"""A file may not grow beyond 1000 bytes: what a full disk does, without one."""


def test_a_digest_is_that_of_sha256() -> None:
    assert sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_a_file_and_its_folders_appear_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_whole(path, b"new")
    (tmp_path / "plain").write_bytes(b"")
    assert path.read_bytes() == b"new"
    assert [each.name for each in path.parent.iterdir()] == ["file.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("name", ["x" * 240, "\N{SNOWMAN}" * 80, "\N{GRINNING FACE}" * 63, "a b"])
def test_any_name_that_the_system_takes_is_taken(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    contents = [bytes([i]) * 200_000 for i in range(1, 4)]
    write_whole(path, contents[0])
    whole = set(contents)
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            data = path.read_bytes()
            if not seen or seen[-1] != data:
                seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        write_whole(path, contents[turn % 3])
    done.set()
    reader.join()
    assert len(seen) > 1, "the reader saw no change: it proves nothing"
    assert set(seen) <= whole


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    old: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"6 E-DISK cannot write {str(path)!r}: file too large")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == (
        {} if old is None else {"file.bin": old}
    )


def test_a_folder_in_the_place_of_the_file_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(RequestError, match="is a directory") as caught:
        write_whole(tmp_path / "taken", b"new")
    assert (caught.value.code, caught.value.exit_code) == ("E-PATH", 2)
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("inner", ["file.bin", "deeper/file.bin"])
def test_a_file_in_the_place_of_a_folder_is_a_wrong_request(inner: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"old")
    with pytest.raises(RequestError, match="cannot write") as caught:
        write_whole(tmp_path / "taken" / inner, b"new")
    assert caught.value.code == "E-PATH"
    assert (tmp_path / "taken").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_the_machine(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="permission denied"):
        write_whole(tmp_path / "file.bin", b"new")
    tmp_path.chmod(0o700)


def test_a_file_system_that_cannot_flush_folders_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def refuses_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuses_folders)
    write_whole(tmp_path / "file.bin", b"new")
    assert (tmp_path / "file.bin").read_bytes() == b"new"


def test_an_interrupt_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file.bin", b"new")
    assert list(tmp_path.iterdir()) == []
