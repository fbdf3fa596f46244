"""The estimated cost: its three bounds, its misses, and the facts it rests on."""

import msgspec
import pytest

from edgepack.base.errors import RequestError
from edgepack.bench.estimate import cycles, facts
from edgepack.devices import Counts
from edgepack.spec import target
from edgepack.spec.target import Cost

CORE = Cost(2, 1, 0.5, (32, 4), (512, 16), 10, 100)


def counts(total: int, fmla: int, loads: int, misses: tuple[int, int] = (0, 0)) -> Counts:
    memory = {"loads": loads, "stores": 0, "l1_misses": misses[0], "l2_misses": misses[1]}
    return Counts(total, {"fmla": fmla, "simd": 7}, memory)


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (counts(1000, 100, 100), 500),
        (counts(1000, 600, 100), 600),
        (counts(1000, 600, 400), 800),
        (counts(1000, 600, 400, (3, 2)), 1030),
    ],
)
def test_the_largest_bound_counts_and_misses_come_on_top(counted: Counts, expected: float) -> None:
    assert cycles(counted, CORE) == expected


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72", "cortex-a76"])
def test_built_in_targets_know_their_cores(cpu: str) -> None:
    assert facts(cpu).width >= facts(cpu).pipes


def test_a_core_that_no_target_knows_is_refused_with_those_that_are() -> None:
    with pytest.raises(RequestError, match="'max'") as caught:
        facts("max")
    assert "cortex-a53" in str(caught.value.hint)


def test_the_cost_of_a_cpu_that_does_not_stand_for_the_target_is_refused() -> None:
    known = msgspec.to_builtins(target.load("arm64"))
    known["cost"]["cortex-a99"] = known["cost"]["cortex-a53"]
    with pytest.raises(msgspec.ValidationError, match="cortex-a99"):
        msgspec.convert(known, target.Target)
