"""Stored comparisons and measurements with made-up times, for what is derived from them."""

from collections.abc import Sequence

import numpy as np

from edgepack.bench import measured
from edgepack.bench.record import (
    FORMAT,
    Contestant,
    Options,
    Pair,
    Plan,
    Process,
    Run,
    Samples,
    Surroundings,
)
from edgepack.bench.scenario import Single
from edgepack.bench.sensors import Reading

CALM = Surroundings(load=0.5, stolen=10.0, throttled=3, governor="performance")
ROUNDS = 8


def samples(seconds: float, switches: int = 0) -> Samples:
    return Samples((seconds,) * ROUNDS, (seconds,) * ROUNDS, (switches,) * ROUNDS)


def contestant(path: str) -> Contestant:
    return Contestant(
        path,
        "00",
        Options(threads=1, exact=False, level="all", provider="CPUExecutionProvider", entries={}),
    )


def run(log_ratios: Sequence[float], seconds: float = 0.01) -> Run:
    """A calm run of one process per log-ratio, of one pair each."""
    processes = [
        Process((Pair("a", 0.01, samples(seconds), samples(seconds * float(np.exp(each)))),), 0.5)
        for each in log_ratios
    ]
    return Run(
        format=FORMAT,
        a=contestant("a.edgepack"),
        b=contestant("b.edgepack"),
        inputs="golden samples of A",
        clock="cpu",
        realtime=False,
        budget=60.0,
        plan=Plan((5, 10), 1, ROUNDS, 0.01, 0),
        processes=tuple(processes),
        elapsed=10.0,
        before=CALM,
        after=CALM,
        machine={"cores": 2},
    )


def measurement(model: str, starts: Sequence[float], wall: Sequence[float]) -> measured.Result:
    """A calm run of one process; CPU time equals wall time."""
    times = tuple(wall)
    samples = measured.Samples(tuple(starts), times, times, (0,) * len(times))
    quiet = Reading(0.0, None, None)
    return measured.Result(
        model=model,
        sha256="00",
        options=contestant("a").options,
        scenario=Single(),
        inputs="golden samples",
        clock="cpu",
        rate=None,
        processes=(measured.Process(None, samples),),
        memory=None,
        joules=None,
        elapsed=1.0,
        ended="",
        before=CALM,
        after=CALM,
        sensors=(quiet, quiet),
        machine={"cores": 2},
    )
