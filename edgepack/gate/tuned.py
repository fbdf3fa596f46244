"""Session options of a bundle: those at which its model was shown to be faster on a device.

Looked for after every other gate has let a model through at the options that bundles ask for
otherwise, so that no gate depends on what is found. A lossy candidate keeps the graph level at
which it was judged; any other level must give the golden outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgepack.base import units
from edgepack.base.errors import MachineError
from edgepack.base.files import sha256
from edgepack.bench import tuning
from edgepack.bench.doubts import doubts
from edgepack.bench.rivals import arm
from edgepack.bench.subject import Subject, face
from edgepack.bundle.golden import Golden, judge
from edgepack.gate import place, speed
from edgepack.gate.candidates import Candidate
from edgepack.gate.choose import mode
from edgepack.gate.place import Place
from edgepack.runtime.session import Options, Session
from edgepack.spec.manifest import runtime_of
from edgepack.spec.target import Target

BUDGET = 60.0
"""Seconds that tuning may take."""

_THREADS = "intra_op_num_threads"
_HERE = Place()


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What tuning found; only ``session`` enters the bundle, the rest is for the report.

    Attributes:
        sentence: The result.
        session: Options for the manifest; empty where nothing was shown to be faster.
        device: Where it was timed.
        ratio: Time of the best options over that of the default, in fresh sessions.
        interval: Of ``ratio``, 99 %, all looks together.
        log_ratios: One per pair of sessions, grouped by process.
        doubts: What makes the figures doubtful: on a busy machine, fewer threads look faster.
        rounds: Of choosing: candidate -> seconds, the 25th percentile, per round.
    """

    sentence: str
    session: dict[str, int | str] = {}
    device: str = ""
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    log_ratios: tuple[tuple[float, ...], ...] = ()
    doubts: tuple[str, ...] = ()
    rounds: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """A model that passed every gate at the default options.

    Attributes:
        candidate: The model.
        golden: Its self-test.
        tolerance: Of each of its outputs.
        max_latency: Seconds at the 90th percentile where it is timed, None for no limit.
    """

    candidate: Candidate
    golden: Golden
    tolerance: Mapping[str, float]
    max_latency: float | None


def where(target: Target, on: Sequence[str] = ()) -> Place:
    """Return where to tune."""
    runtime = runtime_of(target)
    if runtime.provider != "CPUExecutionProvider":
        return Place(nowhere=f"{runtime.provider} has no threads or graph level to choose")
    found = place.find(runtime, on)
    if not found.nowhere:
        return found
    return Place(nowhere=f"no device of {target.name} is here: {found.nowhere}")


def tune(settled: Settled, target: Target, on: Sequence[str], tell: Callable[[str], None]) -> Tuned:
    """Look for session options on a device of the target; one that breaks meanwhile costs nothing.

    Args:
        settled: The model.
        target: What it was built for.
        on: Devices that the user named.
        tell: Called with sentences of progress.

    Raises:
        ModelError: The model does not run there.
    """
    at = where(target, on)
    if at.nowhere:
        return Tuned(f"not tuned: {at.nowhere}")
    levels = ("all",) if settled.candidate.lossy else tuning.LEVELS
    search = tuning.Search(BUDGET, levels, at.device)
    try:
        found = tuning.tune(_subject(settled, search.cores), search, tell)
        why = "" if found.verdict is None else _declined(found, settled, target, at)
    except MachineError as error:
        return Tuned(f"not tuned: {error}", device=at.name)
    if found.verdict is None or found.run is None:
        sentence = f"not tuned: nothing was faster than the default on {at.name}"
        return Tuned(sentence, device=at.name, rounds=found.rounds)
    session = {} if why else _portable(found.session, search.cores)
    seen = tuple(doubt.cause for doubt in doubts(found.run))
    result = f"not tuned: {why}" if why else f"tuned: {_took(found)}"
    return Tuned(
        "; doubt: ".join((result, *seen)),
        session,
        at.name,
        found.verdict.ratio,
        found.verdict.interval,
        tuple(map(tuple, found.run.log_ratios)),
        seen,
        found.rounds,
    )


def _subject(settled: Settled, threads: int) -> Subject:
    model = settled.candidate.data
    options = arm("", b"", "", Options(threads=threads)).contestant.options
    samples, signed = settled.golden.samples, face(model, options)
    return Subject("model", sha256(model), model, options, samples, "golden samples", signed)


def _took(found: tuning.Tuned) -> str:
    assert found.verdict is not None
    low, high = found.verdict.interval
    took = f"{found.verdict.ratio:.3f} [{low:.3f}, {high:.3f}] of the time of the default"
    return f"{found.winner} takes {took}"


def _declined(found: tuning.Tuned, settled: Settled, target: Target, at: Place = _HERE) -> str:
    """Say why the best options do not ship, or nothing."""
    assert found.verdict is not None
    if found.verdict.decision != "faster":
        return f"{_took(found)}: {found.verdict.decision}"
    why = _other_outputs(found, settled, target) or _too_late(found, settled, at)
    return f"{found.winner}: {why}" if why else ""


def _other_outputs(found: tuning.Tuned, settled: Settled, target: Target) -> str:
    """Run the self-test at the best options, in the mode in which it was recorded."""
    session = Session(settled.candidate.data, _options(found, exact=mode(target).exact))
    outputs = [session.run(sample) for sample in settled.golden.samples]
    test = judge(settled.golden, settled.tolerance, outputs)
    bad = [name for name, passed in test.passed.items() if not passed]
    return f"output {bad[0]!r} is {test.largest[bad[0]]:.3g} from its golden value" if bad else ""


def _too_late(found: tuning.Tuned, settled: Settled, at: Place) -> str:
    """Hold the limit on latency at the best options too: faster at p25 may be slower at p90."""
    if (limit := settled.max_latency) is None:
        return ""
    sample = settled.golden.samples[0]
    took = speed.latency(settled.candidate.data, sample, _options(found, exact=False), at)
    if took <= limit:
        return ""
    return f"{units.duration(took)} at the 90th percentile exceeds {units.duration(limit)}"


def _options(found: tuning.Tuned, *, exact: bool) -> Options:
    level: Any = found.options.level
    return Options(found.options.threads, exact, level, entries=found.options.entries)


def _portable(session: Mapping[str, int | str], default: int) -> dict[str, int | str]:
    """Leave the threads open where the best number is the default's: other machines have others."""
    threads = 0 if session[_THREADS] == default else session[_THREADS]
    return {**session, _THREADS: threads}
