"""Every error edgepack raises on purpose, one kind per exit code of the contract.

The kind says who can mend it: the request (2), the model (3), the data (4), a gate (5), the
machine (6), a hostile or damaged file (7). Exit code 1 is a bug of ours and has no class here.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class EdgepackError(Exception):
    """Root of the tree.

    Attributes:
        exit_code: Exit code of the command line for this kind.
        code: Stable name such as ``E-TARGET``, printed in ``error[...]``.
        hint: The next thing to try, or empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class RequestError(EdgepackError):
    """The request is wrong: an option, a path, a TOML file."""

    exit_code = 2


class ModelError(EdgepackError):
    """The model cannot be read, exported or understood."""

    exit_code = 3


class DataError(EdgepackError):
    """Calibration or evaluation data do not serve."""

    exit_code = 4


class GateError(EdgepackError):
    """The artifact misses a limit that must hold for a build to ship."""

    exit_code = 5


class MachineError(EdgepackError):
    """This machine lacks disk, memory, a program or a CPU feature."""

    exit_code = 6


class SafetyError(EdgepackError):
    """Refused: the file is damaged, hostile, or not what it claims to be."""

    exit_code = 7


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that offers the closest valid name, or lists what there is."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(choices)}" if choices else "there is none to choose from"
