"""Session options for one model on this machine: graph level x threads x spinning.

Successive halving: every candidate gets a fresh process in each round, in shuffled turns; the
slower half is dropped, the others get more runs. The best of many is lucky as well as fast, so the
winner is compared with the default in fresh sessions, and taken only where it is shown to be
faster. A pool that spins slows whoever runs next, so every arm stops spinning when its run ends.
Source: Jamieson and Talwalkar 2016, arXiv:1502.07943 (successive halving).
"""

import math
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.findings import Until
from edgepack.bench.record import Clock, Contestant, Options, Run
from edgepack.bench.rivals import Arm, Rivals
from edgepack.bench.scenario import Single
from edgepack.bench.subject import Subject
from edgepack.bench.verdict import Bars, Verdict
from edgepack.bench.visit import visit
from edgepack.bench.worker import Job
from edgepack.runtime import machine

LEVELS = ("all", "extended", "basic", "disable")

_SPIN = "session.intra_op.allow_spinning"
_STOP = "session.force_spinning_stop"
_RUNS = 20  # of a session in the first round; twice as many in each next one
_SHARE = 0.5  # of the budget that choosing may take; the rest re-measures
_HUNG = 120.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        session: For a manifest; that of the default where nothing was shown to be faster.
        options: The same, as the sessions are opened.
        verdict: The winner against the default, of fresh sessions; None where the default won.
        run: The raw samples of that.
        rounds: Of choosing: candidate -> seconds, the 25th percentile, per round.
    """

    session: dict[str, int | str]
    options: Options
    verdict: Verdict | None
    run: Run | None
    rounds: tuple[dict[str, float], ...]


def candidates(default: Options, cores: int) -> dict[str, Options]:
    """Return the options to try by name, the default's own first.

    Args:
        default: What would ship; its other entries are kept.
        cores: That affinity and quota leave.
    """
    found = {"default": default}
    for level in LEVELS:
        for threads in range(1, cores + 1):
            for spin in ("1", "0") if threads > 1 else ("",):
                more = {_SPIN: spin, _STOP: "1"} if spin else {}
                kept = {k: v for k, v in default.entries.items() if k not in {_SPIN, _STOP}}
                entries = {**kept, **more}
                word = {"": "", "1": ", spinning", "0": ", no spinning"}[spin]
                found[f"{level}, {threads} threads{word}"] = msgspec.structs.replace(
                    default, level=level, threads=threads, entries=entries
                )
    same = [name for name, each in found.items() if name != "default" and _same(each, default)]
    return {name: each for name, each in found.items() if name not in same}


def _same(a: Options, b: Options) -> bool:
    """Whether two sessions would be the same: spinning is on unless it is off."""
    plain = [{_SPIN: "1", **each.entries} if each.threads > 1 else each.entries for each in (a, b)]
    return (a.level, a.threads, plain[0]) == (b.level, b.threads, plain[1])


def tune(subject: Subject, budget: float, tell: Callable[[str], None], seed: int = 0) -> Tuned:
    """Find the options at which a model is fastest here.

    Args:
        subject: The model, at its default options.
        budget: Seconds for all of it.
        tell: Called with sentences of progress.
        seed: Of the order of turns.

    Raises:
        EdgepackError: The model does not run at its default options.
    """
    tried = candidates(subject.options, min(machine.threads(), machine.usable_cores()))
    clock: Clock = "cpu" if all(each.threads == 1 for each in tried.values()) else "wall"
    rounds, winner = _halve(_Halving(subject, tried, clock, budget * _SHARE, seed), tell)
    if winner == "default":
        return _kept(subject, rounds)
    tell(f"the winner, {winner}, against the default")
    best = tried[winner]
    try:
        run, verdict = Contest(
            Rivals(_arm(subject, subject.options), _arm(subject, best), subject.samples, "tuning"),
            Terms(Until(Bars()), budget=budget * (1 - _SHARE), seed=seed),
            tell,
        ).compare()
    except RequestError:  # too slow a model to be compared in what is left: nothing is shown
        return _kept(subject, rounds)
    if verdict.decision != "faster":
        return Tuned(_session(subject.options), subject.options, verdict, run, rounds)
    return Tuned(_session(best), best, verdict, run, rounds)


@dataclass(frozen=True, slots=True)
class _Halving:
    subject: Subject
    tried: dict[str, Options]
    clock: Clock
    budget: float
    seed: int


def _halve(work: _Halving, tell: Callable[[str], None]) -> tuple[tuple[dict[str, float], ...], str]:
    """Return the times of each round, and the name of the last one left."""
    rng, left, runs = random.Random(work.seed), list(work.tried), _RUNS  # noqa: S311 - an order
    rounds: list[dict[str, float]] = []
    share = work.budget / max(math.ceil(math.log2(len(left))), 1)
    with tempfile.TemporaryDirectory(prefix="edgepack-tune-") as name:
        folder = Path(name)
        work.subject.lay_out(folder)
        while len(left) > 1:
            tell(f"{len(left)} candidates, {runs} runs each")
            rng.shuffle(left)
            limit = (runs, share / len(left))
            times = {each: _time(work, work.tried[each], limit, folder) for each in left}
            rounds.append(dict(sorted(times.items(), key=lambda item: item[1])))
            left = list(rounds[-1])[: len(left) // 2]
            tell(f"fastest: {left[0]}, {units.duration(times[left[0]])}")
            runs *= 2
    return tuple(rounds), left[0]


def _time(work: _Halving, options: Options, limit: tuple[int, float], folder: Path) -> float:
    """Return the 25th percentile of a fresh session in a fresh process, in seconds."""
    subject = work.subject
    how = Single(warmup=3)
    job = Job("model.onnx", options, "samples.npz", subject.names, how, limit)
    lines = visit(job, folder, limit=_HUNG + 20 * limit[1])
    parts = [getattr(line.samples, work.clock) for line in lines if line.samples]
    return float(np.percentile([x for part in parts for x in part], 25))


def _arm(subject: Subject, options: Options) -> Arm:
    return Arm(Contestant(subject.path, subject.sha256, options), subject.model)


def _kept(subject: Subject, rounds: tuple[dict[str, float], ...]) -> Tuned:
    return Tuned(_session(subject.options), subject.options, None, None, rounds)


def _session(options: Options) -> dict[str, int | str]:
    """Return options as a manifest spells them."""
    return {
        "graph_optimization_level": options.level,
        "intra_op_num_threads": options.threads,
        **options.entries,
    }
