"""Saved statistics in the place of calibration data: what they stand for, and what they cannot.

Ranges follow from them alone. What looks at the samples themselves does not, and says so.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from edgepack.base.errors import DataError
from edgepack.base.files import sha256
from edgepack.calibration import stored
from edgepack.data.lint import Inspection
from edgepack.intake.request import Reference
from edgepack.plan import Plan
from edgepack.spec.step import Skip


def path_of(calib: Reference | None, folder: Path) -> Path | None:
    """Return the file that ``calib`` names if it holds what ``calibrate --save`` writes."""
    if not isinstance(calib, str) or ":" in calib:
        return None
    path = folder / calib
    return path if stored.is_one(path) else None


def check(plans: Iterable[Plan], path: Path) -> None:
    """Refuse a recipe that cannot do without the samples.

    Raises:
        DataError: A step would have to look at them, or at another model than was measured.
    """
    for plan in plans:
        bounds = (*plan.compress, *plan.graph)
        for bound in (each for each in bounds if not isinstance(each.step, Skip)):
            if bound in plan.compress:
                why = "changes the model, and they are of the model as it was"
            elif getattr(bound.step, "ranges", "") == "auto":
                why = 'compares ranges on samples: say ranges = "minmax", or another one'
            else:
                continue
            raise DataError(
                "E-STATS",
                f"step {bound.use} {why}",
                hint=f"give the calibration data instead of {str(path)!r}",
            )


def load(path: Path, plans: Iterable[Plan]) -> tuple[stored.Record, Inspection]:
    """Read statistics, and say of them what is said of data.

    Raises:
        DataError: Another runtime, or another kind of CPU, measured them.
    """
    record = stored.load(path)
    stored.refuse_foreign(record, str(path))
    count = len(record.items)
    notes = (f"ranges come from statistics of {count} samples", *_left_out(plans))
    digest = sha256(stored.encode(record))
    seen = Inspection("calibration", str(path), record.runs, count, digest, {}, record.items, notes)
    return record, seen


def _left_out(plans: Iterable[Plan]) -> Iterator[str]:
    """Say of each step that does nothing, or less, without the samples that it does."""
    uses = [b.use for plan in plans for b in plan.graph if getattr(b.step, "replays", False)]
    for use in dict.fromkeys(uses):
        yield f"{use} looks at samples, which statistics do not hold: that is left out"
