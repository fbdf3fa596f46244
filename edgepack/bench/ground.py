"""Where a comparison takes place: fresh children of this machine, or of another one."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from edgepack.bench import surroundings
from edgepack.bench.child import Stage
from edgepack.bench.duel import WARMUP
from edgepack.bench.record import Pair, Plan, Samples, Surroundings
from edgepack.bench.rivals import Rivals
from edgepack.devices import Opened, Timer, Timing, Turns
from edgepack.devices.ssh import Ssh
from edgepack.runtime import machine
from edgepack.runtime.remote import probe
from edgepack.runtime.remote.refusals import LostError


class Ring(Protocol):
    """Both models, ready."""

    def process(
        self, plan: Plan, *, one_thread: bool, realtime: bool, number: int, limit: float
    ) -> tuple[Pair, ...]:
        """Measure process ``number``; it counts as hung after ``limit`` seconds."""
        ...


class Ground(Protocol):
    """A machine to compare on."""

    def enter(self, rivals: Rivals) -> AbstractContextManager[Ring]:
        """Lay out both models for as long as it is open."""
        ...

    def look(self) -> Surroundings:
        """Tell what else it is doing."""
        ...

    def machine(self) -> dict[str, Any]:
        """Return facts about it."""
        ...


class Here:
    """This machine."""

    @contextmanager
    def enter(self, rivals: Rivals) -> Iterator[Ring]:
        """See ``Ground``."""
        with tempfile.TemporaryDirectory(prefix="edgepack-compare-") as folder:
            yield Stage(Path(folder), rivals)

    def look(self) -> Surroundings:
        """See ``Ground``."""
        return surroundings.look()

    def machine(self) -> dict[str, Any]:
        """See ``Ground``."""
        here = machine.here()
        return {
            "arch": here.arch,
            "cores": here.cores,
            "features": sorted(here.features or ()),
            "onnxruntime": here.onnxruntime,
            "numpy": np.__version__,
        }


class There:
    """Another machine."""

    def __init__(self, device: Timing) -> None:
        self._device = device

    @contextmanager
    def enter(self, rivals: Rivals) -> Iterator[Ring]:
        """See ``Ground``."""
        arms = (rivals.a, rivals.b)
        opened = [
            Opened(arm.model, options.threads, options.level, options.entries)
            for arm in arms
            for options in [arm.contestant.options]
        ]
        with self._device.timer(opened, rivals.samples) as timer:
            yield _Far(timer)

    def look(self) -> Surroundings:
        """See ``Ground``."""
        if not isinstance(self._device, Ssh):
            return Surroundings(None, None, None, None)
        facts = probe.ask(self._device.link, python=False)
        with tempfile.TemporaryDirectory(prefix="edgepack-facts-") as folder:
            return surroundings.look(facts.lay_out(Path(folder)))

    def machine(self) -> dict[str, Any]:
        """See ``Ground``."""
        device = self._device
        return {
            "arch": device.arch,
            "cores": device.cores,
            "features": sorted(device.features),
            "onnxruntime": device.runtime,
            "device": device.name,
        }


class _Far:
    """Both models on another machine."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def process(
        self, plan: Plan, *, one_thread: bool, realtime: bool, number: int, limit: float
    ) -> tuple[Pair, ...]:
        """See ``Ring``; a process whose connection was lost is measured once more."""
        assert not realtime, "refused before"
        del one_thread  # the agent sees it by the threads of the models
        turns = _turns(plan, number)
        heard = _Heard()
        try:
            self._timer.time(turns, heard, limit)
        except LostError:
            heard = _Heard()
            self._timer.time(turns, heard, limit)
        return tuple(heard.pairs)


def _turns(plan: Plan, number: int) -> Turns:
    """Shuffle the turns as ``duel`` does: each model first in half of them, openings alternate."""
    rng = random.Random(plan.seed * 1000 + number)  # noqa: S311 - an order, not a secret
    start = rng.randrange(2)
    pairs = []
    for pair in range(plan.pairs):
        order = [("ab", "ba")[k % 2] for k in range(plan.rounds)]
        rng.shuffle(order)
        pairs.append((("ab", "ba")[(start + pair) % 2], "".join(order)))
    return Turns(pairs, before=1, warmup=WARMUP)


class _Heard:
    """Makes pairs of what the agent says."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._first: Literal["a", "b"] = "a"
        self._opening = 0.0
        self._fresh = True
        self._taken: dict[str, list[list[int]]] = {"a": [], "b": []}

    def __call__(self, words: list[str]) -> None:
        kind, *rest = words
        if kind == "doing" and self._fresh:
            self._first, self._fresh = ("a" if rest[1] == "A" else "b"), False
        elif kind == "opened":
            self._opening = round(int(rest[0]) * 1e-9, 6)
        elif kind in self._taken:
            self._taken[kind].append([int(word) for word in rest])
        elif kind == "paired":
            sides = (_columns(self._taken.pop(letter)) for letter in "ab")
            self.pairs.append(Pair(self._first, self._opening, *sides))
            self._taken, self._fresh = {"a": [], "b": []}, True


def _columns(taken: list[list[int]]) -> Samples:
    wall, cpu, switches = zip(*taken, strict=True)
    return Samples(
        tuple(round(ns * 1e-9, 9) for ns in wall),
        tuple(round(ns * 1e-9, 9) for ns in cpu),
        switches,
    )
