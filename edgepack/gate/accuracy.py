"""The accuracy gate: the user's metric, or fidelity to float where there are no labels."""

from dataclasses import dataclass

import numpy as np

from edgepack.data import metrics
from edgepack.data.fidelity import fidelity
from edgepack.data.metrics import Metric
from edgepack.data.paired import needed_samples, paired_drop
from edgepack.gate.evaluate import Scored
from edgepack.spec.manifest import Accuracy, Fidelity

MAX_DROP = 0.01
"""Loss allowed with labels, absolute, in the metric's unit."""

MAX_DISAGREEMENT = 0.05
"""Decisions that may differ from the float model's, where nothing else was asked for."""

LEAST_SQNR_DB = 20.0
"""Noise at a tenth of the signal's amplitude, where outputs are no class scores."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether an artifact is accurate enough to ship.

    Attributes:
        accuracy: The metric; agreement where outputs are class scores without labels; else None.
        fidelity: Closeness to the float model.
        passed: Whether the gate holds.
        sentence: What was found, for people.
    """

    accuracy: Accuracy | None
    fidelity: Fidelity
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What must hold.

    Attributes:
        metric: None where fidelity is the gate.
        max_drop: Loss allowed; None for the default.
        strict: Whether the worse end of the interval must hold the limit too.
        where: ``exact mode here`` or ``default mode here``, and on what.
    """

    metric: Metric | None
    max_drop: float | None
    strict: bool
    where: str


def judge(float_: Scored, shipped: Scored, limit: Limit) -> Judged:
    """Compare the shipped model with the float model, sample by sample."""
    agreement, cosine, sqnr = fidelity(float_.outputs, shipped.outputs)
    near = Fidelity(agreement, cosine, sqnr, len(shipped.outputs), limit.where)
    if (name := not_a_number(shipped)) and not not_a_number(float_):
        return Judged(None, near, passed=False, sentence=f"output {name!r} is not a number")
    if limit.metric is not None:
        allowed = MAX_DROP if limit.max_drop is None else limit.max_drop
        return _by_metric(float_, shipped, (limit.metric, allowed, limit.strict), near)
    if agreement is not None:
        allowed = MAX_DISAGREEMENT if limit.max_drop is None else limit.max_drop
        same = metrics.load("agreement")
        return _by_metric(float_, shipped, (same, allowed, limit.strict), near)
    passed = sqnr is None or sqnr >= LEAST_SQNR_DB
    level = "no noise" if sqnr is None else f"{sqnr:.1f} dB"
    sentence = f"{level} against float on {near.n} samples, least {LEAST_SQNR_DB:g} dB"
    return Judged(None, near, passed, sentence)


def _by_metric(
    float_: Scored, shipped: Scored, asked: tuple[Metric, float, bool], near: Fidelity
) -> Judged:
    """Hold the paired drop, and with ``strict`` its interval, to what is allowed."""
    metric, allowed, strict = asked
    drop = paired_drop(metric, float_.outputs, shipped.outputs, shipped.labels, shipped.groups)
    shown = drop.interval[1] <= allowed
    accuracy = Accuracy(
        metric=metric.name,
        n=drop.n,
        float_=drop.float_,
        shipped=drop.shipped,
        drop=drop.drop,
        interval=drop.interval,
        max_drop=allowed,
        shown=shown,
    )
    sentence = (
        f"{metric.name} {drop.float_:.4f} -> {drop.shipped:.4f} on {drop.n} samples, "
        f"drop {drop.drop:+.4f} [{drop.interval[0]:+.4f}, {drop.interval[1]:+.4f}], "
        f"allowed {allowed:g}"
    )
    if not shown and drop.drop <= allowed:
        needed = needed_samples(drop, allowed)
        sentence += "; not shown" + (f": needs about {needed} samples" if needed else "")
    return Judged(accuracy, near, shown if strict else drop.drop <= allowed, sentence)


def not_a_number(scored: Scored) -> str:
    """Return an output that is NaN somewhere, or an empty string."""
    for outputs in scored.outputs:
        for name, array in outputs.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                return name
    return ""
