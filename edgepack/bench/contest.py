"""Compare two models: one fresh child process after the other, until a planned look decides."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgepack.base import units
from edgepack.base.errors import MachineError
from edgepack.bench import bursts, schedule
from edgepack.bench.ground import Ground, Here, Ring
from edgepack.bench.record import FORMAT, Clock, Plan, Process, Run, Surroundings
from edgepack.bench.rivals import Rivals
from edgepack.bench.verdict import FEWEST, Groups, Judge, Verdict, walk

_SLOWEST = 20
"""Times its share of the budget after which a child counts as hung."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How to compare.

    Attributes:
        judge: Returns the verdict of a look, and whether it is enough.
        budget: Seconds that all of it may take.
        error: How often the intervals of all looks together may miss the true ratio.
        realtime: Whether to time in real-time bursts.
        seed: Of the order of turns.
    """

    judge: Judge
    budget: float = 60.0
    error: float = 0.01
    realtime: bool = False
    seed: int = 0


@dataclass(slots=True)
class Contest:
    """One comparison; what was measured stays here when it is interrupted.

    Attributes:
        rivals: What to compare.
        terms: How to compare.
        tell: Called with sentences of progress.
        ground: Where it takes place.
    """

    rivals: Rivals
    terms: Terms
    tell: Callable[[str], None] = lambda _: None
    ground: Ground = field(default_factory=Here)
    _began: float = field(default_factory=time.monotonic)
    _before: Surroundings = field(init=False)
    _plan: Plan | None = None
    _processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._before = self.ground.look()

    @property
    def clock(self) -> Clock:
        """CPU time where both run on one thread, else wall time."""
        return "cpu" if self._threads == 1 else "wall"

    @property
    def _threads(self) -> int:
        return max(arm.contestant.options.threads for arm in (self.rivals.a, self.rivals.b))

    def compare(self) -> tuple[Run, Verdict]:
        """Measure until a look decides or the budget is spent.

        Raises:
            RequestError: The budget cannot hold two processes.
            ModelError: A model is refused by the runtime, or crashes it.
            DataError: The samples do not fit.
            MachineError: Real-time bursts are not allowed, or too short for this model.
        """
        with self.ground.enter(self.rivals) as stage:
            self._plan = self._prepare(stage)
            verdict = walk(
                lambda number: self._until(number, stage),
                self._plan.looks,
                self._plan.error,
                self._judge,
            )
        return self.record(), verdict

    def record(self, *, broken: bool = False) -> Run:
        """Return what was measured so far; it takes a first process for there to be a plan.

        Args:
            broken: Whether the machine is gone, and cannot be looked at again.
        """
        assert self._plan is not None
        after = Surroundings(None, None, None, None) if broken else self.ground.look()
        return Run(
            format=FORMAT,
            a=self.rivals.a.contestant,
            b=self.rivals.b.contestant,
            inputs=self.rivals.inputs,
            clock=self.clock,
            realtime=self.terms.realtime,
            budget=self.terms.budget,
            plan=self._plan,
            processes=tuple(self._processes),
            elapsed=round(self._elapsed, 3),
            before=self._before,
            after=after,
            machine=self.ground.machine(),
        )

    @property
    def measured(self) -> int:
        """Number of processes so far."""
        return len(self._processes)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _prepare(self, stage: Ring) -> Plan:
        """Run a pilot process, which is not judged, and plan by what it took."""
        terms = self.terms
        first = self._process(stage, schedule.pilot(terms.seed), terms.budget)
        costs = schedule.costs(first, realtime=terms.realtime)
        if terms.realtime:
            pair = first.pairs[0]
            _require_short(2 * max(pair.a.low("wall"), pair.b.low("wall")))
        plan = schedule.plan(costs, terms.budget - self._elapsed, terms.error, terms.seed)
        self.tell(
            f"at most {plan.looks[-1]} processes of {plan.pairs} pairs of {plan.rounds} rounds, "
            f"looked at after {', '.join(map(str, plan.looks))}"
        )
        return plan

    def _until(self, number: int, stage: Ring) -> Groups:
        """Measure up to that many processes, fewer where the budget ends; an interval takes two."""
        plan = self._plan
        assert plan is not None
        while len(self._processes) < number:
            done, budget = self._processes, self.terms.budget
            if len(done) >= 2 and self._elapsed + done[-1].seconds > budget:
                break
            done.append(self._process(stage, plan, budget / FEWEST))
        clock = self.clock
        return [[pair.log_ratio(clock) for pair in each.pairs] for each in self._processes]

    def _judge(self, groups: Groups, error: float) -> tuple[Verdict, bool]:
        verdict, final = self.terms.judge(groups, error)
        low, high = verdict.interval
        self.tell(
            f"{verdict.processes} processes, {units.duration(self._elapsed)}: B takes "
            f"{verdict.ratio:.4f} [{low:.4f}, {high:.4f}] of A, {verdict.decision}"
        )
        return verdict, final

    def _process(self, stage: Ring, plan: Plan, share: float) -> Process:
        start = time.monotonic()
        pairs = stage.process(
            plan,
            one_thread=self._threads == 1,
            realtime=self.terms.realtime,
            number=len(self._processes),
            limit=60 + _SLOWEST * share,
        )
        return Process(pairs, round(time.monotonic() - start, 6))


def _require_short(turn: float) -> None:
    """Refuse bursts that one turn would outlast."""
    if turn > bursts.LONGEST:
        raise MachineError(
            "E-REALTIME",
            f"two runs take {units.duration(turn)}, longer than a real-time burst of "
            f"{units.duration(bursts.LONGEST)}",
            hint="leave --realtime out",
        )
