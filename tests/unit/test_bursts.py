import os
import subprocess
import sys

import pytest

from edgepack.base.errors import MachineError
from edgepack.bench.bursts import Bursts


def privileged() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def policy() -> int:
    return os.sched_getscheduler(0)


def test_bursts_that_nobody_wants_change_nothing() -> None:
    with Bursts(wanted=False) as bursts:
        bursts.turn()
        assert policy() == os.SCHED_OTHER
        bursts.rest()


@pytest.mark.skipif(privileged(), reason="this user may")
def test_without_the_privilege_bursts_are_refused_with_what_to_do() -> None:
    with pytest.raises(MachineError, match="no real-time bursts") as caught, Bursts(wanted=True):
        pass
    assert "ulimit -r" in caught.value.hint
    assert policy() == os.SCHED_OTHER


IN_A_CHILD = {
    "the ordinary policy is restored after work and after an error": """
try:
    with Bursts(wanted=True) as bursts:
        assert policy() == os.SCHED_OTHER
        bursts.turn()
        assert policy() == os.SCHED_FIFO
        bursts.rest()
        assert policy() == os.SCHED_OTHER
        bursts.turn()
        raise KeyError
except KeyError:
    assert policy() == os.SCHED_OTHER
""",
    "bursts rest as long as they last": """
start, busy = time.perf_counter(), time.thread_time()
with Bursts(wanted=True) as bursts:
    while time.thread_time() - busy < 3 * LONGEST:
        bursts.turn()
        end = time.thread_time() + LONGEST / 10
        while time.thread_time() < end:
            pass
    bursts.rest()
assert time.thread_time() - busy < 0.55 * (time.perf_counter() - start)
""",
    "work of many bursts does not meet the limit of one that hangs": """
busy = time.thread_time()
with Bursts(wanted=True) as bursts:
    while time.thread_time() - busy < 1.5:
        bursts.turn()
        end = time.thread_time() + LONGEST / 3
        while time.thread_time() < end:
            pass
""",
}
"""What holds -> a program: the limit on a burst that hangs stays set in its process."""

HEAD = """
import os, time
from edgepack.bench.bursts import LONGEST, Bursts

def policy() -> int:
    return os.sched_getscheduler(0)
"""


@pytest.mark.skipif(not privileged(), reason="this user may not")
@pytest.mark.parametrize("case", IN_A_CHILD)
def test_with_the_privilege(case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + IN_A_CHILD[case]], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
