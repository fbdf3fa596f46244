import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgepack.base.errors import DataError
from edgepack.data.samples import open_dataset
from edgepack.spec.signature import Signature, TensorSpec

IMAGE = Signature((TensorSpec("image", "float32", ("batch", 3, 2, 4)),), ())
IMAGES = np.arange(5 * 24, dtype=np.float32).reshape(5, 3, 2, 4)


def code(ref: object, folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        list(open_dataset(ref, IMAGE, labelled=False, folder=folder))
    return caught.value


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + body


def zipped(**arrays: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def saved(array: object, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=pickled)
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "cut": saved(IMAGES)[:-7],
    "cut in the header": saved(IMAGES)[:20],
    "longer than it says": saved(IMAGES) + b"x",
    "objects": saved(np.array([{1: 2}], object), pickled=True),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}"),
    "exabytes": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {2**60})}}"),
    "code": npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}"),
    "nested": npy("(" * 5000),
    "version": npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", version=b"\x09\x00"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", ["npy", "npz of it", "folder"])
def test_damaged_and_hostile_files_are_refused_by_name(
    tmp_path: Path, content: bytes, form: str
) -> None:
    if form == "npz of it":
        content = zipped(image=content)
    file = "data.npz" if form == "npz of it" else "data.npy"
    (tmp_path / file).write_bytes(content)
    error = code(tmp_path if form == "folder" else file, tmp_path)
    assert (error.code, error.exit_code) == ("E-DATA", 4)
    assert file in str(error)


def archive_with_a_flipped_byte() -> bytes:
    data = bytearray(zipped(image=saved(IMAGES)))
    data[90] ^= 1
    return bytes(data)


def archive_with_a_name_twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("image.npy", saved(IMAGES))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("image.npy", saved(IMAGES + 1))
    return file.getvalue()


def archive_with_a_password() -> bytes:
    data = bytearray(zipped(image=saved(IMAGES)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def archive_with_a_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../evil.txt", b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        archive_with_a_flipped_byte,
        archive_with_a_name_twice,
        archive_with_a_password,
        archive_with_a_text,
        lambda: zipped(image=saved(IMAGES))[:-9],
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "data.npz").write_bytes(make())
    error = code("data.npz", tmp_path)
    assert (error.code, error.exit_code) == ("E-DATA", 4)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {2**29})}}")
        with archive.open("image.npy", "w", force_zip64=True) as member:
            member.write(header)
    data = bytearray((tmp_path / "data.npz").read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**31 + len(header)).to_bytes(4, "little")  # a directory that lies
    (tmp_path / "data.npz").write_bytes(data)
    error = code("data.npz", tmp_path)
    assert error.code == "E-DATA"
    assert "limit" in str(error)
