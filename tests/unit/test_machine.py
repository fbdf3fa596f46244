import os
from pathlib import Path

import pytest

from edgepack.runtime import machine
from edgepack.runtime.machine import Machine, missing
from edgepack.spec.manifest import Runtime

PI = Machine("aarch64", frozenset({"fp", "asimd"}), 4, "glibc 2.36", "1.22.0")
PLAIN = Runtime("1.20", 17, 8, "CPUExecutionProvider", "aarch64", ("asimd",), {})


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_features_are_those_that_every_core_has(tmp_path: Path) -> None:
    text = "processor : 0\nFeatures\t: fp asimd asimddp\n\nprocessor : 1\nFeatures\t: fp asimd\n"
    assert machine.features(put(tmp_path, {"proc/cpuinfo": text})) == frozenset({"fp", "asimd"})


def test_x86_calls_them_flags(tmp_path: Path) -> None:
    text = "vmx flags\t: tsc\nflags\t\t: fpu avx2 avx_vnni\n"
    assert machine.features(put(tmp_path, {"proc/cpuinfo": text})) == frozenset(
        ["fpu", "avx2", "avx_vnni"]
    )


def test_without_proc_nothing_is_claimed(tmp_path: Path) -> None:
    assert machine.features(tmp_path) is None
    assert machine.usable_cores(tmp_path) >= 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 64),
        (
            {
                "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/box\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_a_quota_counts_in_whole_cores(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert machine.usable_cores(put(tmp_path, files)) == cores


def test_no_more_than_four_threads_are_used() -> None:
    assert 1 <= machine.threads() <= 4


def test_a_machine_that_has_it_all_lacks_nothing() -> None:
    assert missing(PLAIN, PI) is None


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        (Runtime("1.20", 17, 8, "CPU", "x86_64", (), {}), "CPU of type 'x86_64'"),
        (Runtime("1.20", 17, 8, "CPU", "aarch64", ("i8mm", "asimddp"), {}), "'i8mm', 'asimddp'"),
        (Runtime("1.23", 17, 8, "CPU", "aarch64", (), {}), "onnxruntime 1.23, here is 1.22.0"),
        (Runtime("1.22.1", 17, 8, "CPU", "aarch64", (), {}), "onnxruntime 1.22.1"),
    ],
)
def test_what_is_lacking_is_said(runtime: Runtime, words: str) -> None:
    assert words in str(missing(runtime, PI))


def test_a_missing_runtime_is_said() -> None:
    assert "not installed" in str(missing(PLAIN, Machine("aarch64", None, 1, "", None)))


def test_features_nobody_can_read_are_not_held_against_a_machine() -> None:
    assert missing(PLAIN, Machine("aarch64", None, 1, "", "1.22.0")) is None


def test_version_1_9_is_older_than_1_20() -> None:
    old = Machine("aarch64", None, 1, "", "1.9.0")
    assert "1.20" in str(missing(PLAIN, old))


def test_a_provider_that_this_runtime_was_not_built_with_is_lacking() -> None:
    here = machine.here()
    needs = Runtime("1.20", 17, 8, "NnapiExecutionProvider", here.arch, (), {})
    assert "'NnapiExecutionProvider'" in str(missing(needs))


def test_the_version_is_that_of_the_runtime_itself() -> None:
    import onnxruntime

    assert machine.here().onnxruntime == onnxruntime.__version__
