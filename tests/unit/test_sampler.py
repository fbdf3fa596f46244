from edgepack.bench.sampler import Timing, take


def test_samples_are_kept_in_order_and_warm_up_is_not_timed() -> None:
    calls: list[int] = []
    timing = take(lambda: calls.append(len(calls)), threads=1, warmup=3, runs=5)
    assert len(calls) == 8
    assert len(timing.wall) == len(timing.cpu) == 5
    assert min(timing.wall) >= 0


def test_percentiles_are_those_of_the_samples() -> None:
    timing = Timing(tuple(map(float, range(101))), tuple(map(float, range(0, 202, 2))))
    assert timing.percentiles() == {
        "wall": {"p50": 50, "p90": 90, "p99": 99},
        "cpu": {"p50": 100, "p90": 180, "p99": 198},
    }
