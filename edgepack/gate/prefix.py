"""Candidates whose first convolutions stay in float, where a clock shows that this is faster.

The first layers of a net for images or sound have few channels and many positions: integer kernels
gain little there and the conversions cost most. Where the cut pays depends on the kernels of the
machine, so it is timed. Figures: ``benchmarks/quantization/latency.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from edgepack.bench.sampler import take
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.graph.precision import integer_nodes
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample

MOST = 5
"""Convolutions in a prefix: no net was seen to gain from more."""

_ROUNDS = 8
"""Fresh sessions of every candidate; one has to be faster in all of them but one."""

_WORTH = 0.99
"""Share of the time, in the middle round, below which a prefix is worth taking."""

_BLOCKS, _WARM, _SECONDS = 6, 2, 0.1
"""Turns of a session in a round, untimed runs before them, and seconds of all turns."""

_SLOWEST = 0.25
"""Seconds of a run above which trying all would take minutes; such nets hardly gain from it."""


def prefixes(rewritten: Rewritten, whole: Candidate) -> Iterator[Candidate]:
    """Yield ``whole`` with its first 1, 2, ... integer convolutions left in float.

    Args:
        rewritten: What ``whole`` comes from.
        whole: A candidate that is accurate enough.
    """
    integers = frozenset(integer_nodes(whole.model))
    convolutions = [
        str(node.name)
        for node in whole.model.graph
        if node.op_type == "Conv" and node.name in integers
    ]
    for count in range(1, min(MOST, len(convolutions) - 1) + 1):
        spared = {**whole.spared, **dict.fromkeys(convolutions[:count], "float")}
        yield replace(
            rewritten.refold(spared), name=f"{whole.name} behind {count} float convolutions"
        )


def fastest(models: Sequence[bytes], sample: Sample, threads: int) -> int:
    """Return the place of the model that is clearly faster than the first one, else 0.

    Args:
        models: ONNX files, the one to beat first.
        sample: A full sample, state included.
        threads: Threads of one operator; with one, CPU time counts, else wall time.
    """
    once = max(
        take(_runner(model, sample, threads), threads=threads, warmup=_WARM, runs=1).wall[0]
        for model in models
    )
    if once > _SLOWEST:
        return 0
    runs = max(1, int(_SECONDS / _BLOCKS / max(once, 1e-9)))
    return winner(
        np.array([_round(models, sample, threads, (turn, runs)) for turn in range(_ROUNDS)])
    )


def winner(seconds: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> int:
    """Return the column of least time among those that beat column 0 in nearly all rows, else 0.

    By chance alone, 9 of 256 models as fast as the first would be so in 7 of 8 rows.
    """
    ratios = seconds / seconds[:, :1]
    steady = (ratios < 1).sum(axis=0) >= len(ratios) - 1
    middle = np.where(steady, np.median(ratios, axis=0), 1.0)
    return int(np.argmin(middle)) if middle.min() < _WORTH else 0


def _round(
    models: Sequence[bytes], sample: Sample, threads: int, plan: tuple[int, int]
) -> list[float]:
    """Return the lower quartile of seconds of each model, in fresh sessions that take turns."""
    turn, runs = plan
    order = [(place + turn) % len(models) for place in range(len(models))]
    run = {place: _runner(models[place], sample, threads) for place in order}
    times: dict[int, list[float]] = {place: [] for place in order}
    for block in range(_BLOCKS):
        for place in order:
            warmup = 1 if block else _WARM
            timing = take(run[place], threads=threads, warmup=warmup, runs=runs)
            times[place] += timing.cpu if threads == 1 else timing.wall
    return [float(np.percentile(times[place], 25)) for place in range(len(models))]


def _runner(model: bytes, sample: Sample, threads: int) -> Callable[[], object]:
    session = Session(model, Options(threads=threads))
    return lambda: session.run(sample)
