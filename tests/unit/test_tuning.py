import pytest

from edgepack.base.errors import ModelError
from edgepack.bench.record import Options
from edgepack.bench.tuning import Search, _halve, _session, candidates
from edgepack.bundle.rules import SESSION

ONE = Options(1, False, "all", "CPUExecutionProvider", {})  # noqa: FBT003
TWO = Options(2, False, "all", "CPUExecutionProvider", {"session.force_spinning_stop": "1"})  # noqa: FBT003


def test_on_one_core_only_the_level_is_tried() -> None:
    assert list(candidates(ONE, 1)) == [
        "default",
        *(f"{level}, 1 thread" for level in ("extended", "basic", "disable")),
    ]


def test_every_level_thread_count_and_way_to_wait_is_tried_once() -> None:
    found = candidates(TWO, 2)
    assert len(found) == 4 * 3  # one thread, two that spin, two that do not; one is the default
    assert sum(each == TWO for each in found.values()) == 1
    assert max(each.threads for each in found.values()) == 2


def test_one_level_alone_can_be_tried() -> None:
    found = candidates(TWO, 2, ("all",))
    assert list(found) == ["default", "all, 1 thread", "all, 2 threads, no spinning"]


def test_a_pool_never_spins_beyond_its_run() -> None:
    several = [each for each in candidates(ONE, 4).values() if each.threads > 1]
    assert all(each.entries["session.force_spinning_stop"] == "1" for each in several)


def test_the_slower_half_is_dropped_each_round_and_the_others_run_twice_as_often() -> None:
    tried, asked = candidates(TWO, 2), []

    def heat(options: Options, limit: tuple[int, float]) -> dict[str, list[float]]:
        asked.append(limit[0])
        seconds = {"disable": 4.0, "basic": 1.0}.get(options.level, 2.0) / options.threads
        spin = options.entries.get("session.intra_op.allow_spinning")
        return {"wall": [seconds - 0.1 * (spin == "1")] * 4, "cpu": [9.0] * 4}

    rounds = _halve(tried, heat, Search(60.0), lambda _: None)
    assert [len(each) for each in rounds] == [12, 6, 3]
    assert asked == [20] * 12 + [40] * 6 + [80] * 3
    assert next(iter(rounds[-1])) == "basic, 2 threads, spinning"


def test_options_at_which_the_model_does_not_run_are_dropped_unless_they_are_the_default() -> None:
    def heat(options: Options, _: tuple[int, float]) -> dict[str, list[float]]:
        if options.level == broken:
            raise ModelError("E-CRASH", "the process stopped with SIGSEGV")
        return {"wall": [1.0], "cpu": [1.0]}

    broken = "basic"
    rounds = _halve(candidates(ONE, 1), heat, Search(60.0), lambda _: None)
    assert rounds[0].keys() == {"default", "extended, 1 thread", "disable, 1 thread"}
    broken = "all"
    with pytest.raises(ModelError, match="SIGSEGV"):
        _halve(candidates(ONE, 1), heat, Search(60.0), lambda _: None)


def test_choosing_ends_after_the_first_round_where_that_took_its_share_of_the_budget() -> None:
    def heat(_: Options, limit: tuple[int, float]) -> dict[str, list[float]]:
        assert limit[1] == 0
        return {"wall": [1.0], "cpu": [1.0]}

    assert len(_halve(candidates(ONE, 1), heat, Search(0.0), lambda _: None)) == 1


def test_a_bundle_may_ask_for_whatever_tuning_chooses() -> None:
    plain = {"graph_optimization_level", "intra_op_num_threads"}
    for each in candidates(TWO, 4).values():
        assert set(_session(each)) - plain <= SESSION
