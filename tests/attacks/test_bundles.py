"""Hostile bundles, each made from a valid one: the archive itself, byte by byte."""

import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgepack
from edgepack.base.errors import SafetyError
from edgepack.bundle import archive
from edgepack.bundle.open import open_bundle

Refused = Any
"""The fixture: takes the bytes of a bundle and the words it must be refused with."""

TRAITS = "traits never written"


def rezip(forge: Any, change: Callable[[zipfile.ZipFile], None]) -> bytes:
    """Let Python's zipfile append to the valid bundle."""
    file = io.BytesIO(forge.seal())
    with zipfile.ZipFile(file, "a") as opened:
        change(opened)
    return file.getvalue()


def rename(forge: Any, new: str) -> bytes:
    """Add a member of the length of ``new``, then put ``new`` in its place in both headers."""
    stand_in = "assets/".ljust(len(new), "a")
    forge.members[stand_in] = b"payload"
    return bytes(forge.seal()).replace(stand_in.encode(), new.encode())


def directory(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, len(data) - 6)[0])


def patch(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def patch_both(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """Change a field of the first member in its local header and in the directory."""
    return patch(patch(data, local, value), directory(data) + central, value)


def test_a_member_that_climbs_out_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "assets/../../../escape"), "has no member")


def test_a_member_with_an_absolute_path_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "/tmp/edgepack-escape"), "has no member")


def test_a_member_with_backslashes_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "assets\\..\\escape"), "has no member")


def test_a_member_on_another_drive_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "C:/assets/escape"), "has no member")


def test_a_member_with_a_nul_in_its_name_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "assets/a\0b"), "has no member")


def test_a_member_whose_name_is_not_utf8_is_refused(forge: Any, refused: Refused) -> None:
    forge.members["assets/aaaa"] = b"payload"
    refused(forge.seal().replace(b"assets/aaaa", b"assets/\xff\xfe\xff\xfe"), "not UTF-8")


def test_a_member_in_a_deeper_folder_is_refused(forge: Any, refused: Refused) -> None:
    refused(rename(forge, "assets/deep/er"), "has no member")


def test_a_member_nobody_knows_is_refused(forge: Any, refused: Refused) -> None:
    forge.members["setup.py"] = b"print('hello')"
    refused(forge.seal(), "has no member")


def test_two_members_of_the_same_name_are_refused(forge: Any, refused: Refused) -> None:
    forge.members |= {"assets/aaaa": b"one", "assets/bbbb": b"two"}
    refused(forge.seal().replace(b"assets/bbbb", b"assets/aaaa"), "the same name")


def test_two_members_that_differ_in_case_are_refused(forge: Any, refused: Refused) -> None:
    forge.members |= {"assets/labels": b"one", "assets/LABELS": b"two"}
    refused(forge.seal(), "only in case")


def test_two_manifests_are_refused(forge: Any, refused: Refused) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = rezip(forge, lambda file: file.writestr("manifest.json", b"{}"))
    refused(twice, TRAITS)


def test_a_symbolic_link_is_refused(forge: Any, refused: Refused) -> None:
    def link(file: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("assets/link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        file.writestr(info, "/etc/passwd")

    refused(rezip(forge, link), TRAITS)


def test_a_member_with_zip64_sizes_is_refused(forge: Any, refused: Refused) -> None:
    def add(file: zipfile.ZipFile) -> None:
        with file.open("assets/large", "w", force_zip64=True) as member:
            member.write(b"payload")

    refused(rezip(forge, add), TRAITS)


def test_a_member_that_calls_itself_a_link_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    refused(patch(data, directory(data) + 38, struct.pack("<I", 0o120777 << 16)), TRAITS)


def test_an_encrypted_member_is_refused(forge: Any, refused: Refused) -> None:
    refused(patch_both(forge.seal(), 6, 8, struct.pack("<H", 1)), TRAITS)


def test_an_unknown_compression_is_refused(forge: Any, refused: Refused) -> None:
    refused(patch_both(forge.seal(), 8, 10, struct.pack("<H", zipfile.ZIP_LZMA)), TRAITS)


def test_a_member_with_a_data_descriptor_is_refused(forge: Any, refused: Refused) -> None:
    refused(patch_both(forge.seal(), 6, 8, struct.pack("<H", 8)), TRAITS)


def test_a_member_from_the_future_is_refused(forge: Any, refused: Refused) -> None:
    refused(patch_both(forge.seal(), 4, 6, struct.pack("<H", 63)), TRAITS)


def test_a_comment_is_refused(forge: Any, refused: Refused) -> None:
    def comment(file: zipfile.ZipFile) -> None:
        file.comment = b"PK\x05\x06" + bytes(18)

    refused(rezip(forge, comment), "end record")


def test_a_comment_on_a_member_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    refused(patch(data, directory(data) + 32, b"\x01\0"), TRAITS)


def test_text_before_the_archive_is_refused(forge: Any, refused: Refused) -> None:
    refused(b"PK\x03\x04" + forge.seal(), "end record")


def test_a_script_before_the_archive_is_refused(forge: Any, refused: Refused) -> None:
    refused(b"#!/bin/sh\n" + forge.seal(), "no zip file")


def test_text_after_the_archive_is_refused(forge: Any, refused: Refused) -> None:
    refused(forge.seal() + b"more", "cut short")


def test_one_bundle_behind_another_is_refused(forge: Any, refused: Refused) -> None:
    refused(forge.seal() * 2, "end record")


def test_a_gap_before_the_directory_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    start = directory(data)
    wide = data[:start] + b"hidden" + data[start:]
    refused(patch(wide, len(wide) - 6, struct.pack("<I", start + 6)), "leave gaps")


def test_members_that_overlap_are_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    second = directory(data) + 46 + len("manifest.json")
    refused(patch(data, second + 42, struct.pack("<I", 0)), "contradicts the directory")


def test_a_directory_cut_short_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    refused(data[: directory(data) + 60] + data[-22:], "end record")


def test_a_file_cut_in_half_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    refused(data[: len(data) // 2], "cut short")


def test_an_empty_file_is_refused(refused: Refused) -> None:
    refused(b"", "no zip file")


def test_an_archive_without_members_is_refused(refused: Refused) -> None:
    refused(archive.write({}), "lacks")


def test_sixty_five_members_are_refused(forge: Any, refused: Refused) -> None:
    forge.members |= {f"assets/{index}": b"x" for index in range(62)}
    refused(forge.seal(), "at most 64")


def test_sizes_that_point_to_zip64_are_refused(forge: Any, refused: Refused) -> None:
    refused(patch_both(forge.seal(), 18, 20, b"\xff" * 8), "contradicts the directory")


def test_a_member_that_claims_fewer_bytes_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    size = struct.unpack_from("<I", data, 22)[0]
    refused(patch_both(data, 22, 24, struct.pack("<I", size - 1)), "is damaged")


def test_a_member_that_claims_more_bytes_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.seal()
    size = struct.unpack_from("<I", data, 22)[0]
    refused(patch_both(data, 22, 24, struct.pack("<I", size + 1)), "is damaged")


def test_a_bomb_is_refused(forge: Any, refused: Refused) -> None:
    refused(forge.deflated("manifest.json", bytes(10_000_000)), "100 times")


def test_a_manifest_of_more_bytes_than_allowed_is_refused(forge: Any, refused: Refused) -> None:
    refused(forge.lay(b" " * (16 * 2**20 + 1)), "holds at most")


def test_the_bundle_they_are_all_made_from_is_opened(forge: Any, tmp_path: Path) -> None:
    path = tmp_path / "sound.edgepack"
    path.write_bytes(forge.seal())
    assert edgepack.load(path).selftest().n == 2


@pytest.mark.parametrize("whole_file", [True, False])
def test_one_changed_byte_is_refused_or_changes_nothing(
    forge: Any, tmp_path: Path, *, whole_file: bool
) -> None:
    forge.members["assets/labels.txt"] = b"cat dog " * 64
    whole = forge.seal()
    path = tmp_path / "flipped.edgepack"
    path.write_bytes(whole)
    sound = open_bundle(path)
    anywhere = random.Random(0).sample(range(len(whole)), 200)
    for at in {*anywhere, *range(64), *range(directory(whole), len(whole))}:
        path.write_bytes(patch(whole, at, bytes([whole[at] ^ (0x01, 0x80, 0xFF)[at % 3]])))
        try:
            found = open_bundle(path, digest=whole_file)
        except SafetyError:
            continue
        assert found.manifest == sound.manifest, f"byte {at}"
        assert (found.model, found.extras) == (sound.model, sound.extras), f"byte {at}"


def test_a_huge_file_that_is_no_bundle_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "zeros.edgepack"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    tracemalloc.start()
    with pytest.raises(SafetyError, match="no zip file"):
        open_bundle(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
