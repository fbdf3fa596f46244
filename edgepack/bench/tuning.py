"""Session options for one model on this machine: graph level x threads x spinning.

Successive halving: every candidate gets a fresh process in each round, in shuffled turns; the
slower half is dropped, the others get more runs. The best of many is lucky as well as fast, so the
winner is compared with the default in fresh sessions, and taken only where it is shown to be
faster. A pool that spins slows whoever runs next, so every arm stops spinning when its run ends.
Source: Jamieson and Talwalkar 2016, arXiv:1502.07943 (successive halving).
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from edgepack.base import units
from edgepack.base.errors import ModelError, RequestError
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.findings import Until
from edgepack.bench.ground import Here, There
from edgepack.bench.heats import Heat, heats
from edgepack.bench.record import LOW, Clock, Contestant, Options, Run
from edgepack.bench.rivals import Arm, Rivals
from edgepack.bench.subject import Subject
from edgepack.bench.verdict import Bars, Verdict
from edgepack.devices import Timing
from edgepack.runtime import machine

LEVELS = ("all", "extended", "basic", "disable")

_SPIN = "session.intra_op.allow_spinning"
_STOP = "session.force_spinning_stop"
_RUNS = 20  # of a session in the first round; twice as many in each next one
_SHARE = 0.5  # of the budget after which no further round of choosing begins


@dataclass(frozen=True, slots=True)
class Search:
    """How to look for options.

    Attributes:
        budget: Seconds for all of it.
        levels: Graph levels to try.
        device: Where to time; None for this machine.
        seed: Of the order of turns.
    """

    budget: float
    levels: Sequence[str] = LEVELS
    device: Timing | None = None
    seed: int = 0

    @property
    def cores(self) -> int:
        """Threads to try at most: what affinity and quota leave there."""
        cores = machine.usable_cores() if self.device is None else self.device.cores
        return min(cores, machine.MOST_THREADS)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        winner: Name of what was fastest when choosing.
        session: For a manifest; that of the default where nothing was shown to be faster.
        options: The same, as the sessions are opened.
        verdict: The winner against the default, of fresh sessions; None where the default won.
        run: The raw samples of that.
        rounds: Of choosing: candidate -> seconds, the 25th percentile, per round.
    """

    winner: str
    session: dict[str, int | str]
    options: Options
    verdict: Verdict | None
    run: Run | None
    rounds: tuple[dict[str, float], ...]


def candidates(default: Options, cores: int, levels: Sequence[str] = LEVELS) -> dict[str, Options]:
    """Return the options to try by name, the default's own first.

    Args:
        default: What would ship; its other entries are kept.
        cores: That affinity and quota leave.
        levels: Graph levels.
    """
    found = {"default": default}
    for level in levels:
        for threads in range(1, cores + 1):
            for spin in ("1", "0") if threads > 1 else ("",):
                more = {_SPIN: spin, _STOP: "1"} if spin else {}
                kept = {k: v for k, v in default.entries.items() if k not in {_SPIN, _STOP}}
                entries = {**kept, **more}
                word = {"": "", "1": ", spinning", "0": ", no spinning"}[spin]
                number = "1 thread" if threads == 1 else f"{threads} threads"
                found[f"{level}, {number}{word}"] = msgspec.structs.replace(
                    default, level=level, threads=threads, entries=entries
                )
    same = [name for name, each in found.items() if name != "default" and _same(each, default)]
    return {name: each for name, each in found.items() if name not in same}


def _same(a: Options, b: Options) -> bool:
    """Whether two sessions would be the same: spinning is on unless it is off."""
    plain = [{_SPIN: "1", **each.entries} if each.threads > 1 else each.entries for each in (a, b)]
    return (a.level, a.threads, plain[0]) == (b.level, b.threads, plain[1])


def tune(subject: Subject, search: Search, tell: Callable[[str], None]) -> Tuned:
    """Find the options at which a model is fastest.

    Args:
        subject: The model, at its default options.
        search: What to try, where, and for how long.
        tell: Called with sentences of progress.

    Raises:
        EdgepackError: The model does not run at its default options, or the device broke.
    """
    began = time.monotonic()
    tried = candidates(subject.options, search.cores, search.levels)
    if len(tried) == 1:
        return Tuned("default", _session(subject.options), subject.options, None, None, ())
    with heats(subject, list(tried.values()), search.device) as heat:
        rounds = _halve(tried, heat, search, tell)
    winner = next(iter(rounds[-1]))
    best, verdict, run = tried[winner], None, None
    if winner != "default":
        tell(f"the winner, {winner}, against the default")
        left = search.budget - (time.monotonic() - began)
        run, verdict = _again(subject, best, replace(search, budget=left), tell)
    if verdict is None or verdict.decision != "faster":
        best = subject.options
    return Tuned(winner, _session(best), best, verdict, run, rounds)


def _halve(
    tried: dict[str, Options], heat: Heat, search: Search, tell: Callable[[str], None]
) -> tuple[dict[str, float], ...]:
    """Return the times of each round, fastest first; the last round has the winner first."""
    began = time.monotonic()
    rng, left, runs = random.Random(search.seed), list(tried), _RUNS  # noqa: S311 - an order
    clock: Clock = "cpu" if all(each.threads == 1 for each in tried.values()) else "wall"
    rounds: list[dict[str, float]] = []
    while len(left) > 1:
        spare = began + search.budget * _SHARE - time.monotonic()
        if rounds and spare <= 0:
            break
        tell(f"{len(left)} candidates, {runs} runs each")
        rng.shuffle(left)
        limit = (runs, max(spare, 0.0) / math.ceil(math.log2(len(left))) / len(left))
        times: dict[str, float] = {}
        for each in left:
            try:
                times[each] = float(np.percentile(heat(tried[each], limit)[clock], LOW))
            except ModelError:  # not every model runs, or survives, at every level
                if each == "default":
                    raise
        rounds.append(dict(sorted(times.items(), key=lambda item: item[1])))
        left = list(rounds[-1])[: max(len(left) // 2, 1)]
        tell(f"fastest: {left[0]}, {units.duration(times[left[0]])}")
        runs *= 2
    return tuple(rounds)


def _again(
    subject: Subject, best: Options, search: Search, tell: Callable[[str], None]
) -> tuple[Run | None, Verdict | None]:
    """Compare with the default in fresh sessions; too slow a model cannot be, in what is left."""
    default, winner = (_arm(subject, options) for options in (subject.options, best))
    terms = Terms(Until(Bars()), budget=search.budget, seed=search.seed)
    ground = Here() if search.device is None else There(search.device)
    rivals = Rivals(default, winner, subject.samples, "tuning")
    if search.budget <= 0:  # choosing took all of it: a device may need seconds for each process
        return None, None
    try:
        return Contest(rivals, terms, tell, ground).compare()
    except RequestError:  # two processes of it do not fit what is left
        return None, None


def _arm(subject: Subject, options: Options) -> Arm:
    return Arm(Contestant(subject.path, subject.sha256, options), subject.model)


def _session(options: Options) -> dict[str, int | str]:
    """Return options as a manifest spells them."""
    return {
        "graph_optimization_level": options.level,
        "intra_op_num_threads": options.threads,
        **options.entries,
    }
