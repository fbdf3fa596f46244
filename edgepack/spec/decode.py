"""TOML and JSON to frozen records; msgspec does the work, this names what is wrong."""

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from edgepack.base.errors import RequestError, nearest

T = TypeVar("T")

_LARGEST = 1_000_000
"""Bytes of a TOML file; the longest of ours has a few thousand."""
_FIELD = re.compile(r"unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")


def decode(kind: type[T], data: object, where: str) -> T:
    """Turn plain data into a record of type ``kind``.

    Args:
        kind: A msgspec Struct that forbids unknown fields.
        data: What a TOML or JSON parser returned.
        where: The file or option the data came from, for the error.

    Raises:
        RequestError: A key is unknown or missing, or a value has the wrong type.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        unknown = _FIELD.search(text)
        hint = nearest(unknown[1], _keys(kind, unknown[2] or "")) if unknown else ""
        raise RequestError(
            "E-CONFIG", f"{where}: {text[0].lower()}{text[1:]}", hint=hint
        ) from error
    except RecursionError as error:
        raise _too_deep(where) from error


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        RequestError: The file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(_text(path))
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not TOML, or endless digits
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
        raise RequestError(
            "E-CONFIG", f"cannot read {str(path)!r}: {reason}", hint="look at the path and the file"
        ) from error
    except RecursionError as error:
        raise _too_deep(str(path)) from error


def _text(path: Path) -> str:
    """Read a small plain file; a named pipe or a device would keep us waiting for ever."""
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("not a plain file")
        if facts.st_size > _LARGEST:
            raise ValueError(f"{facts.st_size} bytes, the limit is {_LARGEST}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(_LARGEST).decode()
    finally:
        os.close(handle)


def _too_deep(where: str) -> RequestError:
    return RequestError("E-CONFIG", f"{where}: nested too deep", hint="mend the file")


def _keys(kind: type, path: str) -> set[str]:
    """Return the keys of the table at ``path``, such as ``.model``, inside a record."""
    tables = _structs(kind)
    for name in re.findall(r"\.(\w+)", path):
        tables = [
            inner
            for table in tables
            for field in msgspec.structs.fields(table)
            if field.encode_name == name
            for inner in _structs(field.type)
        ]
    return {field.encode_name for table in tables for field in msgspec.structs.fields(table)}


def _structs(kind: object) -> list[type[msgspec.Struct]]:
    """Return the Structs that a type stands for, such as the one of ``Int8 | None``."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for inner in getattr(kind, "__args__", ()) for found in _structs(inner)]
