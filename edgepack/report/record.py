"""``NAME-TARGET.report.json``: what a clock measured, and what ran where.

None of what a clock measured is in the bundle. ``--replay`` of a report takes its measurements and
observations instead of making them again, and gives the same bytes anywhere.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgepack.base.errors import RequestError
from edgepack.gate.tuned import Tuned
from edgepack.spec.decision import Removed
from edgepack.spec.manifest import Cost, Execution

FORMAT: Literal["edgepack-report/1"] = "edgepack-report/1"

_HINT = "give NAME-TARGET.report.json, which a build writes beside its bundle"


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison of a candidate with float on a device of the target."""

    ratio: float
    interval: tuple[float, float]
    verdict: str
    clock: str
    threads: int
    log_ratios: tuple[tuple[float, ...], ...]
    device: str = "local"


class Timed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a clock said of one candidate; see ``gate.terms.Clocked``."""

    speed: Speed | None
    latency: float | None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file beside a bundle.

    Attributes:
        format: Of this file.
        bundle_sha256: The bundle it belongs to.
        target: Name of its target.
        choice: Name of the candidate that shipped.
        sentences: What was found and decided, in order.
        timed: What a clock said, by candidate.
        barred: Candidates refused for what they computed on the target, and why.
        executed: As in the manifest.
        cost: As in the manifest.
        spread: Largest difference per output between here and the target's CPUs.
        machine: Facts about the machine that built.
        seconds: CPU seconds per phase of the build.
        decided: What a clock led to while compressing, by step.
        tuned: What was found about session options, None where nobody asked.
        mixed: Candidate -> node -> precision, of each that was selected node by node.
    """

    format: Literal["edgepack-report/1"]
    bundle_sha256: str
    target: str
    choice: str
    sentences: tuple[str, ...]
    timed: dict[str, Timed]
    barred: dict[str, str]
    executed: tuple[Execution, ...]
    cost: tuple[Cost, ...]
    spread: dict[str, float]
    machine: dict[str, Any]
    seconds: dict[str, float]
    decided: dict[str, Removed] = {}
    tuned: Tuned | None = None
    mixed: dict[str, dict[str, str]] = {}


def encode(report: Report) -> bytes:
    """Return readable JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def load(path: Path, target: str) -> Report:
    """Read a report for ``--replay``; it must be of the target that is built.

    Raises:
        RequestError: The file is missing, not a report, or that of another target.
    """
    found = _read(path)
    if found.target != target:
        raise RequestError(
            "E-REPLAY",
            f"{str(path)!r} is the report of a build for {found.target}, not {target}",
            hint=f"build -t {found.target}",
        )
    return found


def require_same(report: Report, digest: str) -> None:
    """Refuse to call a replay what is not one.

    Raises:
        RequestError: Model, data, options or versions differ from those of the report.
    """
    if report.bundle_sha256 != digest:
        raise RequestError(
            "E-REPLAY",
            f"the report belongs to bundle {report.bundle_sha256[:16]}, this build gives "
            f"{digest[:16]}",
            hint="replay with the same model, data, options and versions",
        )


def _read(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise RequestError("E-PATH", f"cannot read {str(path)!r}: {reason}", hint=_HINT) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f"{str(path)!r} is not a report: {error}"
        raise RequestError("E-CONFIG", said, hint=_HINT) from error
