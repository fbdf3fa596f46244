"""What a file is when it is not ONNX, told from its first bytes."""

import zipfile
from io import BytesIO

_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model itself", "run: git lfs pull"),
    (b"\x89HDF\r\n", "an HDF5 file (Keras or h5py)", "convert it to ONNX first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"\x7fELF", "an ELF program or library", ""),
    (b"\x89PNG", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"%PDF", "a PDF document", ""),
    (b"\x93NUMPY", "a NumPy array", ""),
)
_PICKLE = "a Python pickle (an old PyTorch file)"
_MODULE = "give file.py:name for the module, and its weights with [model] weights"


def foreign(data: bytes) -> tuple[str, str] | None:
    """Tell what ``data`` is, with a hint, when it is a known format other than ONNX.

    Returns:
        A noun phrase and the next thing to try, or None where nothing else is recognised.
    """
    for magic, what, hint in _MAGIC:
        if data.startswith(magic):
            return what, hint
    if data[:2] == b"PK":
        return _archive(data)
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE, _MODULE
    if data[4:8] == b"TFL3":
        return "a TensorFlow Lite model", "convert it to ONNX first"
    if data[4:8] == b"ORTM":
        return "an ORT-format model", "give the .onnx file it was made from"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "a safetensors file: weights without a graph", _MODULE
    return _text(data)


def _archive(data: bytes) -> tuple[str, str]:
    """Tell zip files apart by the names inside."""
    try:
        names = zipfile.ZipFile(BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "a zip archive that is cut short", "copy it again"
    if any(name.endswith("/archive_format") for name in names):
        return "a torch.export program (.pt2)", "rename it to .pt2"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint (.pt)", _MODULE
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)", ""
    return "a zip archive", "unpack it first"


def _text(data: bytes) -> tuple[str, str] | None:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a model", "the download went wrong; fetch the file itself"
    if head.startswith((b"{", b"[")) and data.rstrip().endswith((b"}", b"]")):
        return "a JSON file", ""
    return None
