"""The accuracy gate: the user's metric, or fidelity to float where there are no labels."""

import math
from dataclasses import dataclass, replace

import numpy as np

from edgepack.data import metrics
from edgepack.data.fidelity import fidelity, holds_directions, noise_by_output
from edgepack.data.metrics import Metric
from edgepack.data.paired import needed_samples, paired_drop, telling_samples
from edgepack.gate.evaluate import Scored
from edgepack.spec.manifest import Accuracy, Fidelity

MAX_DROP = 0.01
"""Loss allowed with labels, absolute, in the metric's unit."""

MAX_DISAGREEMENT = 0.05
"""Decisions that may differ from the float model's, where nothing else was asked for."""

FLOOR_DB = 10.0
"""Noise at a third of the amplitude of what varies. Below it, whatever the metric says, another
model answers: an AUC was seen to rise while an eighth of the decisions flipped."""

MAX_TURN = 0.01
"""Of embeddings, what the mean cosine to the float model's may lack of 1, where nothing else was
asked for: their length is fixed, so that a direction is all they hold."""

LEAST_SQNR_DB = 20.0
"""Noise at a tenth of the amplitude of what varies, for each output that no metric looks at."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether an artifact is accurate enough to ship.

    Attributes:
        accuracy: The metric; without labels agreement where outputs are class scores, cosine where
            they are embeddings; else None.
        fidelity: Closeness to the float model.
        passed: Whether the gate holds.
        sentence: What was found, for people.
        cost_db: Signal to noise against the model that the integers stand for; None without noise.
        unshown: The sentence, where only the interval misses the limit and that is what refuses.
        needs: About how many samples would tell, where so few refuse it that the interval reaches
            across the limit; 0 where they are enough to tell, or something else refuses it.
    """

    accuracy: Accuracy | None
    fidelity: Fidelity
    passed: bool
    sentence: str
    cost_db: float | None = None
    unshown: str = ""
    needs: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """What must hold.

    Attributes:
        metric: None where fidelity is the gate.
        max_drop: Loss allowed; None for the default.
        strict: Whether the worse end of the interval must hold the limit too.
        where: ``exact mode here`` or ``default mode here``, and on what.
        picked: Outputs whose rows are picked by value, so that noise by entry says nothing: a
            metric that was asked for judges them alone.
    """

    metric: Metric | None
    max_drop: float | None
    strict: bool
    where: str
    picked: frozenset[str] = frozenset()


def judge(
    float_: Scored, shipped: Scored, limit: Limit, stands_for: Scored | None = None
) -> Judged:
    """Compare the shipped model with the float model, sample by sample.

    Args:
        float_: Outputs of the user's model, which the metric compares with.
        shipped: Outputs of the candidate.
        limit: What must hold.
        stands_for: Outputs of the float model that the candidate rounds, where training moved it
            away from the user's; noise is measured against it.
    """
    base = float_ if stands_for is None else stands_for
    judged = _judge(float_, shipped, limit, base)
    return replace(judged, cost_db=fidelity(base.outputs, shipped.outputs)[2])


def _judge(float_: Scored, shipped: Scored, limit: Limit, base: Scored) -> Judged:
    agreement, cosine, sqnr = fidelity(float_.outputs, shipped.outputs)
    near = Fidelity(agreement, cosine, sqnr, len(shipped.outputs), limit.where)
    if (name := not_a_number(shipped)) and not not_a_number(float_):
        return Judged(None, near, passed=False, sentence=f"output {name!r} is not a number")
    noise = noise_by_output(base.outputs, shipped.outputs)
    if limit.metric is not None:
        allowed = MAX_DROP if limit.max_drop is None else limit.max_drop
        judged = _by_metric(float_, shipped, (limit.metric, allowed, limit.strict), near)
        scored = next(iter(float_.outputs[0]))
        needed = {name: FLOOR_DB if name == scored else LEAST_SQNR_DB for name in noise}
        needed.update(dict.fromkeys(limit.picked & set(noise), -math.inf))
        return _above_floors(judged, noise, needed)
    if agreement is not None:
        allowed = MAX_DISAGREEMENT if limit.max_drop is None else limit.max_drop
        same = metrics.load("agreement")
        return _by_metric(float_, shipped, (same, allowed, limit.strict), near)
    if holds_directions(float_.outputs):
        allowed = MAX_TURN if limit.max_drop is None else limit.max_drop
        turned = _by_metric(float_, shipped, (metrics.load("cosine"), allowed, limit.strict), near)
        return _above_floors(turned, noise, dict.fromkeys(noise, FLOOR_DB))
    if not noise:
        return Judged(None, near, passed=sqnr is None, sentence="outputs are no real numbers")
    worst = min(noise, key=lambda name: noise[name])
    passed = noise[worst] >= LEAST_SQNR_DB
    told = "no noise" if noise[worst] == math.inf else f"{noise[worst]:.1f} dB"
    sentence = f"{told} in output {worst!r} on {near.n} runs, least {LEAST_SQNR_DB:g} dB"
    if worst in limit.picked:
        sentence += "; its rows are picked by value: give labels and a metric that matches them"
    return Judged(None, near, passed, sentence)


def _above_floors(judged: Judged, noise: dict[str, float], least: dict[str, float]) -> Judged:
    """Hold each output to the float model's, the one that the metric sees more loosely."""
    bad = {name: db for name, db in noise.items() if db < least[name]}
    if not bad:
        return judged
    name = min(bad, key=lambda each: bad[each] - least[each])
    told = f"output {name!r} stands {bad[name]:.1f} dB above its noise, least {least[name]:g} dB"
    sentence = f"{judged.sentence}; {told}"
    return replace(judged, passed=False, sentence=sentence, unshown="", needs=0)


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
    met = drop.drop <= allowed
    needed = (needed_samples(drop, allowed) if met else telling_samples(drop, allowed)) or 0
    if not shown and (met or needed):
        sentence += "; not shown" if met else "; too few samples to tell"
        sentence += f": needs about {needed} samples" if needed else ""
    if shipped is not float_ and near.agreement == 1 and metric.name in {"top1", "agreement"}:
        sentence += f"; no decision differs, the interval is what {drop.n} samples leave open"
    if metric.name == "top1" and drop.float_ <= _chance(float_):
        sentence += "; the float model does no better than chance: are labels and inputs right?"
    passed = shown if strict else met
    unshown = sentence if met and not passed else ""
    return Judged(accuracy, near, passed, sentence, unshown=unshown, needs=0 if passed else needed)


def _chance(scored: Scored) -> float:
    """Return the accuracy of guessing among the classes of the first output."""
    first = next(iter(scored.outputs[0].values()))
    return 1 / max(first.shape[-1] if first.ndim else 1, 1)


def not_a_number(scored: Scored) -> str:
    """Return an output that is NaN somewhere, or an empty string."""
    for outputs in scored.outputs:
        for name, array in outputs.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                return name
    return ""
