from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgepack.base.errors import DataError, EdgepackError, RequestError
from edgepack.bench import record, surroundings
from edgepack.bench.doubts import doubts
from edgepack.bench.findings import find
from edgepack.bench.record import Pair, Process, Run, Samples, Surroundings
from edgepack.bench.verdict import Bars, judge
from tests.comparisons import CALM, run, samples

LOG_RATIOS = [0.02, 0.021, 0.019, 0.02, 0.02]


def test_a_session_is_its_25th_percentile_and_a_pair_the_log_of_two() -> None:
    a = Samples((4.0, 1.0, 2.0, 3.0, 5.0), (1.0,) * 5, (0,) * 5)
    b = Samples((8.0, 2.0, 4.0, 6.0, 10.0), (1.0,) * 5, (0,) * 5)
    assert a.low("wall") == 2.0
    assert Pair("a", 0.1, a, b).log_ratio("wall") == np.log(2)
    assert Pair("a", 0.1, a, b).log_ratio("cpu") == 0


def test_everything_is_derived_from_the_raw_samples() -> None:
    found = find(run(LOG_RATIOS), Bars())
    expected = judge([[each] for each in LOG_RATIOS], 0.005, Bars())
    np.testing.assert_allclose(found.verdict.interval, expected.interval)
    assert found.verdict.decision == "slower"
    assert found.confidence == 0.99
    assert found.low["a"] == 0.01
    assert found.doubts == ()


def test_other_bars_may_be_asked_of_a_stored_run() -> None:
    assert find(run(LOG_RATIOS), Bars(0.03, 0.05)).verdict.decision == "no difference"


def test_a_stored_run_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(record.encode(run(LOG_RATIOS)))
    assert record.load(path) == run(LOG_RATIOS)


BAD: dict[str, tuple[bytes, type[EdgepackError], str]] = {
    "no JSON": (b"{", DataError, "no comparison"),
    "bytes": (b"\xff\xfe", DataError, "no comparison"),
    "another format": (b'{"format": "edgepack-bench/1"}', DataError, "no comparison"),
    "one process": (record.encode(run([0.1])), DataError, "takes two"),
    "no looks": (
        record.encode(run(LOG_RATIOS)).replace(b"[5,10]", b"[]"),
        DataError,
        "no looks",
    ),
    "times of nothing": (record.encode(run(LOG_RATIOS, 0.0)), DataError, "no time"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_judged_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    data, kind, reason = BAD[case]
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(kind, match=reason):
        record.load(tmp_path / "run.json")


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        record.load(tmp_path / "none.json")


def changed(**fields: object) -> Run:
    return msgspec.structs.replace(run(LOG_RATIOS), **fields)


def at(**fields: object) -> Surroundings:
    return msgspec.structs.replace(CALM, **fields)


def times(*seconds: float, switches: int = 0) -> tuple[Process, ...]:
    pairs = [Pair("a", 0.1, samples(each, switches), samples(each)) for each in seconds]
    return tuple(Process((pair,), 1.0) for pair in pairs)


DOUBTS = {
    "cut": changed(processes=times(*[0.01] * 6)),
    "preempted": changed(processes=times(*[0.01] * 5, switches=1)),
    "crowded": changed(after=at(load=3.0)),
    "stolen": changed(after=at(stolen=10.5)),
    "throttled": changed(after=at(throttled=4)),
    "governed": changed(before=at(governor="powersave")),
    "short": changed(processes=times(*[0.00002] * 5)),
    "drifting": changed(processes=times(0.01, 0.01, 0.012, 0.013, 0.013)),
    "made_up": changed(inputs="made up"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_each_doubt_is_raised_by_its_cause_alone_and_has_a_remedy(name: str) -> None:
    found = doubts(DOUBTS[name])
    assert [each.name for each in found] == [name]
    assert found[0].cause
    assert found[0].remedy


def test_a_crowd_does_not_disturb_real_time_bursts() -> None:
    assert doubts(changed(after=at(load=3.0), realtime=True)) == ()


def test_a_machine_that_tells_nothing_raises_no_doubt() -> None:
    silent = Surroundings(None, None, None, None)
    assert doubts(changed(before=silent, after=silent)) == ()


def test_surroundings_are_read_from_the_kernel(tmp_path: Path) -> None:
    files = {
        "proc/loadavg": "1.50 1.20 1.00 2/100 4242\n",
        "proc/stat": "cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 125 0 0\n",
        "proc/self/cgroup": "0::/box\n",
        "sys/fs/cgroup/box/cpu.stat": "usage_usec 5\nnr_throttled 7\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = surroundings.look(tmp_path)
    assert (found.load, found.throttled, found.governor) == (1.5, 7, "schedutil")
    assert found.stolen == pytest.approx(2.5)  # 250 ticks of 10 ms, as on every Linux


def test_the_control_groups_of_version_1_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "sys/fs/cgroup/cpu,cpuacct/box"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("nr_periods 9\nnr_throttled 2\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/x\n4:cpu,cpuacct:/box\n0::/\n")
    assert surroundings.look(tmp_path).throttled == 2


def test_a_system_without_proc_tells_nothing(tmp_path: Path) -> None:
    assert surroundings.look(tmp_path) == Surroundings(None, None, None, None)
