"""How many processes, pairs and rounds fit a budget; decided from times alone, before any ratio."""

import math
from dataclasses import dataclass

from edgepack.base import units
from edgepack.base.errors import RequestError
from edgepack.bench.bursts import DUTY
from edgepack.bench.record import Plan, Process
from edgepack.bench.verdict import FEWEST

LOOKS = (FEWEST, 10, 20, 40)
"""Numbers of processes at which a comparison may end; each costs a share of the error."""

ROUNDS = 20
"""Timed runs of a session: fewer lose to the cost of opening it, more to its own speed."""

_FEWEST_ROUNDS = 6
_MOST_PAIRS = 12  # beyond it, what a process has in common outweighs what a pair has of its own
_PILOT_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that things take here, seen in a first process that is not judged.

    Attributes:
        start: To start a process and end it.
        opening: To open a pair.
        turn: One run of A and one of B, real-time rests included.
    """

    start: float
    opening: float
    turn: float

    def process(self, pairs: int, rounds: int) -> float:
        """Return the seconds of a process; each timed run has an untimed one before it."""
        return self.start + pairs * self.pair(rounds)

    def pair(self, rounds: int) -> float:
        """Return the seconds of a pair."""
        return self.opening + 2 * rounds * self.turn


def pilot(seed: int) -> Plan:
    """Return the plan of the first process."""
    return Plan(looks=(), pairs=1, rounds=_PILOT_ROUNDS, error=0.0, seed=seed)


def costs(process: Process, *, realtime: bool) -> Costs:
    """Return what a pilot process tells about the costs of the next ones."""
    pair = process.pairs[0]
    rests = 1 / DUTY if realtime else 1.0
    turn = sum(sum(side.wall) / len(side.wall) for side in (pair.a, pair.b))
    spent = pair.opening + rests * 2 * turn * len(pair.a.wall)
    return Costs(max(process.seconds - spent, 0.0), pair.opening, rests * turn)


def plan(costs: Costs, budget: float, error: float, seed: int) -> Plan:
    """Fit a comparison into a budget.

    Processes are what counts, so there are many; pairs fill at least as much time as it takes to
    start a process. Only where not even five processes fit are there fewer rounds; then the
    budget may end before anything can be decided.

    Args:
        costs: From the pilot.
        budget: Seconds that are left.
        error: How often the intervals of all looks together may miss the true ratio.
        seed: Of the order of turns.

    Raises:
        RequestError: Not even the two processes that an interval takes fit.
    """
    if (needed := 2 * costs.process(1, _FEWEST_ROUNDS)) > budget:
        raise _too_small(costs, needed, budget)
    rounds = ROUNDS
    pairs = min(max(math.ceil(costs.start / costs.pair(rounds)), 2), _MOST_PAIRS)
    if costs.process(pairs, rounds) * FEWEST > budget:
        pairs = 1
        spare = budget / FEWEST - costs.start - costs.opening
        rounds = min(max(int(spare / (2 * costs.turn)), _FEWEST_ROUNDS), ROUNDS)
    most = int(budget / costs.process(pairs, rounds))
    number = min(max(most, FEWEST), LOOKS[-1])
    return Plan((*_before(number), number), pairs, rounds, error, seed)


def _before(last: int) -> tuple[int, ...]:
    """Return the looks before the last one; one just before it is not worth its share."""
    return tuple(look for look in LOOKS if look <= 0.75 * last)


def _too_small(costs: Costs, needed: float, budget: float) -> RequestError:
    enough = math.ceil(2 * FEWEST * costs.process(1, ROUNDS))
    return RequestError(
        "E-BUDGET",
        f"the budget is too small: two processes take about {units.duration(needed)}, "
        f"{units.duration(max(budget, 0.0))} are left",
        hint=f"--budget {enough}s",
    )
