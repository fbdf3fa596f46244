"""What a clock led to while compressing: kept beside the bundle, never in it, and replayed."""

from pathlib import Path

import msgspec

from edgepack.base.files import write_whole


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Channels that left a layer and all that depend on it, the least important ones."""

    layer: str
    channels: int


class Removed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Channels removed until a network was as fast as asked.

    Attributes:
        steps: In the order in which they went.
        ratio: Time of what is left over that of the original.
        interval: Of ``ratio``, 95 %.
    """

    steps: tuple[Removal, ...]
    ratio: float
    interval: tuple[float, float]


def read(path: Path) -> Removed | None:
    """Return what a step decided before, None where it did not."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Removed)
    except (OSError, msgspec.DecodeError):  # never made, or not by this version: measured again
        return None


def write(path: Path, decided: Removed) -> None:
    """Keep what a step decided, for the build that is taken up again."""
    write_whole(path, msgspec.json.encode(decided))
