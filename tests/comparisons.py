"""Stored comparisons with made-up times, for what is derived from them."""

from collections.abc import Sequence

import numpy as np

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
