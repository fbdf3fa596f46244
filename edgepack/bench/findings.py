"""From stored samples to a verdict and what goes with it; ``compare --from`` needs nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack.bench.doubts import Doubt, doubts
from edgepack.bench.record import Run
from edgepack.bench.verdict import Bars, Groups, Verdict, decided, judge


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is derived from a run.

    Attributes:
        verdict: At the last look that was taken.
        confidence: Of its interval, all looks together.
        low: Median over sessions of the 25th percentile of A's and B's time, in seconds.
        doubts: What makes it doubtful.
    """

    verdict: Verdict
    confidence: float
    low: dict[str, float]
    doubts: tuple[Doubt, ...]


def find(run: Run, bars: Bars) -> Findings:
    """Derive everything; other bars than those of the measuring may be given."""
    clock = run.clock
    low = {
        "a": float(np.median([pair.a.low(clock) for pair in run.pairs])),
        "b": float(np.median([pair.b.low(clock) for pair in run.pairs])),
    }
    verdict = judge(run.log_ratios, run.plan.error / len(run.plan.looks), bars)
    return Findings(verdict, 1 - run.plan.error, low, doubts(run))


@dataclass(frozen=True, slots=True)
class Until:
    """Judges a look by its bars and ends where it decides."""

    bars: Bars

    def __call__(self, groups: Groups, error: float) -> tuple[Verdict, bool]:
        """Return the verdict, and whether it is enough."""
        verdict = judge(groups, error, self.bars)
        return verdict, decided(verdict)


def as_data(run: Run, found: Findings) -> dict[str, Any]:
    """Return the findings for ``--json``, without the raw samples."""
    verdict = found.verdict
    return {
        "format": run.format,
        "decision": verdict.decision,
        "ratio": verdict.ratio,
        "interval": verdict.interval,
        "confidence": found.confidence,
        "smallest_effect": verdict.smallest_effect,
        "clock": run.clock,
        "realtime": run.realtime,
        "seconds": found.low,
        "processes": verdict.processes,
        "pairs": verdict.pairs,
        "log_ratios": [[round(x, 9) for x in group] for group in run.log_ratios],
        "rounds": run.plan.rounds,
        "looks": run.plan.looks,
        "inputs": run.inputs,
        "elapsed": run.elapsed,
        "budget": run.budget,
        "load": (run.before.load, run.after.load),
        "a": run.a,
        "b": run.b,
        "doubts": found.doubts,
    }
