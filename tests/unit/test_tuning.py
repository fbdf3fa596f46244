from edgepack.bench.record import Options
from edgepack.bench.tuning import _session, candidates
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


def test_a_bundle_may_ask_for_whatever_tuning_chooses() -> None:
    plain = {"graph_optimization_level", "intra_op_num_threads"}
    for each in candidates(TWO, 4).values():
        assert set(_session(each)) - plain <= SESSION
