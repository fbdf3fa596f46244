"""TOML and JSON to frozen records; msgspec does the work, this names what is wrong."""

import re
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from edgepack.base.errors import RequestError, nearest

T = TypeVar("T")


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
        unknown = re.search(r"unknown field `([^`]*)`", text)
        hint = nearest(unknown[1], _fields(kind)) if unknown else ""
        raise RequestError(
            "E-CONFIG", f"{where}: {text[0].lower()}{text[1:]}", hint=hint
        ) from error


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        RequestError: The file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError("E-CONFIG", f"cannot read {str(path)!r}: {reason}") from error


def _fields(kind: type) -> set[str]:
    """Collect the field names of a Struct and of the Structs inside it."""
    found: set[str] = set()
    todo: list[object] = [kind]
    while todo:
        item = todo.pop()
        if isinstance(item, type) and issubclass(item, msgspec.Struct):
            for field in msgspec.structs.fields(item):
                found.add(field.encode_name)
                todo.append(field.type)
        todo.extend(getattr(item, "__args__", ()))
    return found
