"""Real-time bursts: for at most 30 ms nothing else runs on the core, then it rests as long.

A thread under ``SCHED_FIFO`` is not preempted by ordinary ones, which makes timings on a busy
machine as calm as on an idle one, at the cost of whatever else wants that core. Hence short
bursts, half of the time at most, and only where the user asks for them.
Source: sched(7); the limit ``RLIMIT_RTTIME`` of getrlimit(2) ends a burst that hangs.
"""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from edgepack.base.errors import MachineError

LONGEST = 0.03
"""Seconds of a burst."""

DUTY = 0.5
"""Fraction of the time that bursts may take."""

_HANGS = 1_000_000  # microseconds of CPU in one burst, after which the kernel ends the process


class Bursts:
    """A context; ``turn`` is called before each piece of work.

    With ``wanted`` false it does nothing at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._began: float | None = None
        self._last = 0.0
        self._piece = 0.0

    def __enter__(self) -> Self:
        if self._wanted:
            import resource

            _set(real_time=True)  # tells at once whether it is allowed
            _set(real_time=False)
            resource.setrlimit(resource.RLIMIT_RTTIME, (_HANGS, _HANGS))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._began is not None:
            _set(real_time=False)
            self._began = None

    def turn(self) -> None:
        """End the burst and rest where the next piece would not fit; begin one if none runs."""
        if not self._wanted:
            return
        now = time.perf_counter()
        if self._began is not None:
            self._piece = max(self._piece, now - self._last)
            if now - self._began + self._piece > LONGEST:
                self.rest()
                now = time.perf_counter()
        if self._began is None:
            _set(real_time=True)
            self._began = now
        self._last = time.perf_counter()

    def rest(self) -> None:
        """End the burst and sleep as long as it lasted."""
        if self._began is None:
            return
        lasted = time.perf_counter() - self._began
        time.sleep(lasted * (1 / DUTY - 1))  # still real-time: waking up restarts RLIMIT_RTTIME
        _set(real_time=False)
        self._began = None


def _set(*, real_time: bool) -> None:
    """Set the policy of every thread of this process: those of the runtime's pool work too."""
    if not hasattr(os, "sched_setscheduler"):
        raise _refused("this system has no SCHED_FIFO")
    policy = os.SCHED_FIFO if real_time else os.SCHED_OTHER
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setscheduler(int(task.name), policy, os.sched_param(int(real_time)))
        except ProcessLookupError:
            continue  # the thread has just ended
        except PermissionError as error:
            raise _refused("this user may not") from error


def _refused(reason: str) -> MachineError:
    return MachineError(
        "E-REALTIME",
        f"no real-time bursts: {reason}",
        hint="run as root, allow it with `ulimit -r 1`, or leave --realtime out",
    )
