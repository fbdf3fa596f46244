"""What ``bench -o`` wrote, read again: here, over ssh, on an emulated CPU, or of a suite."""

from pathlib import Path
from typing import TypeAlias, cast

from edgepack.base.errors import DataError
from edgepack.bench import estimate, measured, record, remote, series

Stored: TypeAlias = measured.File | series.File | remote.File | estimate.File

_HINT = "give what bench -o wrote in edgepack's own form; of compare -o: edgepack compare --from"


def load(path: Path) -> Stored:
    """Read a file of any of these forms.

    Raises:
        RequestError: The file cannot be read.
        DataError: It is no such file, or nothing is in it.
    """
    found = record.read(path, cast("type[Stored]", Stored), "measurement", _HINT)
    if not (found.cells if isinstance(found, series.File) else found.results):
        raise DataError("E-DATA", f"{str(path)!r} holds no measurement", hint="measure, with -o")
    return found
