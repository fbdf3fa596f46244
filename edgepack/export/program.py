"""Programs of ``torch.export`` (.pt2), looked into before torch opens them.

A .pt2 file is code: torch unpickles what its configuration says is pickled, looks operators up by
dotted name from the ``torch`` module (``torch.os.system`` is one), and hands size expressions to
``sympy.sympify``, which evaluates Python. Only what tensors and operators need is let through.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only its name; nothing is unpickled here

import torch

from edgepack.base.errors import ModelError, RequestError, SafetyError
from edgepack.base.files import beside
from edgepack.export.faults import RAISED, quiet, reason
from edgepack.graph.limits import FILE_BYTES
from edgepack.graph.sniff import foreign

_OPERATOR = re.compile(
    r"torch\.ops\.(?!_|load_library|import_module)\w+\.\w+(\.(?!_)\w+)?|torch\._?sym_\w+"
    r"|_operator\.(?!attrgetter|itemgetter|methodcaller|call)[a-z]\w*|math\.\w+"
)
_LOOKED_UP = ("torch", "_operator", "math", "#")
_SYMBOL = re.compile(r"Symbol\('\w+'(, \w+=(True|False))*\)")
_EXPRESSION = re.compile(r"(\d+\.\d+|[\w+\-*/(), <>=&|~%])*")
_PICKLED = ("custom_obj_", "opaque_obj_")
_COMPILED = ("data/aotinductor/", "executorch/", "mtia/")
_MODULE = "give file.py:name for the module, and its weights with [model] weights"


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Read a program that ``torch.export.save`` wrote.

    Raises:
        RequestError: There is no such file.
        SafetyError: It holds pickled objects, compiled code, or names that reach outside operators.
        ModelError: It is cut short, of another kind, or of another version of torch.
    """
    data = contents(path)
    try:
        _inspect(data, path)
        with quiet():
            return torch.export.load(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise truncated(path) from error
    except (*RAISED, UnpicklingError) as error:
        raise ModelError(
            "E-PROGRAM",
            f"torch cannot load {str(path)!r}: {reason(error)}",
            hint="save it again with the installed version of torch",
        ) from error


def contents(path: Path) -> bytes:
    """Read a checkpoint whole.

    Raises:
        RequestError: It cannot be read.
        SafetyError: It is larger than any model may be.
    """
    try:
        if path.stat().st_size > FILE_BYTES:
            raise SafetyError("E-CAP", f"{str(path)!r} is larger than {FILE_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {what.lower()}", hint=beside(path)
        ) from error


def truncated(path: Path) -> ModelError:
    """Return the error for a checkpoint whose end is missing."""
    return ModelError("E-CKPT-TRUNC", f"{str(path)!r} is cut short", hint="copy or save it again")


def pickled(path: Path, what: str) -> SafetyError:
    """Return the error for a file that would run code of its own when it is loaded."""
    return SafetyError("E-PICKLE", f"refused: {str(path)!r} holds {what}", hint=_MODULE)


def _inspect(data: bytes, path: Path) -> None:
    if data[:2] != b"PK":
        what, hint = foreign(data) or (
            "not a torch.export program",
            "save it with torch.export.save",
        )
        if "pickle" in what:
            raise pickled(path, what)
        raise ModelError("E-MODEL-TYPE", f"{str(path)!r} is {what}", hint=hint)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        names = [entry.filename.partition("/")[2] for entry in entries]
        if sum(entry.file_size for entry in entries) > FILE_BYTES or len(set(names)) < len(names):
            raise SafetyError("E-CAP", f"{str(path)!r} unpacks to too much, or holds a name twice")
        if "archive_format" not in names:
            if "data.pkl" in names:
                raise pickled(path, "a pickled checkpoint or a TorchScript archive")
            raise ModelError("E-MODEL-TYPE", f"{str(path)!r} is a zip archive but no .pt2 program")
        for entry, name in zip(entries, names, strict=True):
            _check_member(name, archive.read(entry), path)


def _check_member(name: str, data: bytes, path: Path) -> None:
    if name.startswith(_COMPILED):
        raise pickled(path, f"compiled code ({name})")
    if name.startswith("models/") and not name.endswith(".json"):
        raise ModelError("E-MODEL-TYPE", f"{str(path)!r} holds the unknown member {name!r}")
    if name.endswith(".json"):
        for key, value in _pairs(json.loads(data)):
            _check_pair(key, value, path)
    if name.endswith(".pt") and data:
        try:
            torch.load(io.BytesIO(data), weights_only=True)
        except UnpicklingError as error:
            raise pickled(path, f"a pickled object ({name})") from error


def _pairs(tree: object) -> Iterator[tuple[str, object]]:
    """Walk every key and value of a JSON tree."""
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield from item.items()
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)


def _check_pair(key: str, value: object, path: Path) -> None:
    if key == "use_pickle" and value is True:
        raise pickled(path, "pickled tensors")
    if not isinstance(value, str):
        return
    if key == "path_name" and value.startswith(_PICKLED):
        raise pickled(path, f"the pickled object {value!r}")
    called = key in ("target", "as_operator") and value.startswith(_LOOKED_UP)
    if called and not _OPERATOR.fullmatch(value):
        raise pickled(path, f"a call of {value!r}, which is no operator")
    if key == "expr_str":
        plain = _SYMBOL.sub("s", value)
        if "__" in plain or not _EXPRESSION.fullmatch(plain):
            raise pickled(path, f"the size {value[:60]!r}, which is no arithmetic")
