import pytest

from edgepack.base.errors import RequestError
from edgepack.bench import schedule
from edgepack.bench.record import Pair, Process, Samples
from edgepack.bench.schedule import Costs


def test_costs_are_read_off_a_first_process() -> None:
    a, b = Samples((0.01,) * 4, (0.01,) * 4, (0,) * 4), Samples((0.02,) * 4, (0.02,) * 4, (0,) * 4)
    process = Process((Pair("a", 0.1, a, b),), 1.0)
    calm = schedule.costs(process, realtime=False)
    assert calm.opening == 0.1
    assert calm.turn == pytest.approx(0.03)
    assert calm.start == pytest.approx(1.0 - 0.1 - 2 * 4 * 0.03)
    assert schedule.costs(process, realtime=True).turn == pytest.approx(0.06)  # and rests as long


def test_a_quick_model_fills_the_start_of_a_process_with_pairs() -> None:
    found = schedule.plan(Costs(start=0.5, opening=0.02, turn=0.001), 60, 0.01, 7)
    assert (found.pairs, found.rounds, found.looks) == (9, 20, (5, 10, 20, 40))
    assert (found.error, found.seed) == (0.01, 7)


def test_a_slower_model_gets_fewer_processes_and_the_looks_that_fit() -> None:
    found = schedule.plan(Costs(start=0.5, opening=0.1, turn=0.04), 50, 0.01, 0)
    assert (found.pairs, found.rounds, found.looks) == (2, 20, (5, 12))


def test_a_look_just_before_the_last_is_left_out() -> None:
    found = schedule.plan(Costs(start=0.5, opening=0.1, turn=0.04), 23.5, 0.01, 0)
    assert found.looks == (6,)


def test_a_slow_model_gets_one_pair_of_fewer_rounds_in_five_processes() -> None:
    found = schedule.plan(Costs(start=0.5, opening=0.5, turn=0.3), 40, 0.01, 0)
    assert (found.pairs, found.rounds, found.looks) == (1, 11, (5,))


def test_a_budget_for_less_than_five_processes_keeps_the_fewest_rounds() -> None:
    found = schedule.plan(Costs(start=0.5, opening=0.5, turn=0.3), 12, 0.01, 0)
    assert (found.pairs, found.rounds, found.looks) == (1, 6, (5,))


@pytest.mark.parametrize("budget", [5.0, 0.0, -1.0])
def test_a_budget_that_cannot_hold_two_processes_is_refused(budget: float) -> None:
    with pytest.raises(RequestError, match=r"two processes take about 9.2 s") as caught:
        schedule.plan(Costs(start=0.5, opening=0.5, turn=0.3), budget, 0.01, 0)
    assert caught.value.hint == "--budget 130s"


@pytest.mark.parametrize("turn", [0.0001, 0.003, 0.02, 0.1])
@pytest.mark.parametrize("budget", [15.0, 60.0, 300.0])
def test_a_plan_keeps_its_budget(turn: float, budget: float) -> None:
    costs = Costs(start=0.4, opening=0.05, turn=turn)
    found = schedule.plan(costs, budget, 0.01, 0)
    assert found.looks[-1] * costs.process(found.pairs, found.rounds) <= budget * 1.001
    assert found.looks[0] >= 5
