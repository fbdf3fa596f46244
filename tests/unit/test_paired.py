import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.base.errors import DataError
from edgepack.data.metrics import load
from edgepack.data.paired import Drop, needed_samples, paired_drop, telling_samples

Array = np.ndarray[Any, Any]
Z = 1.959964


def outputs(decisions: Sequence[int], classes: int = 3) -> list[dict[str, Array]]:
    return [{"scores": np.eye(classes, dtype=np.float32)[[d]]} for d in decisions]


def scores(values: Array) -> list[dict[str, Array]]:
    return [{"score": np.array([[value]])} for value in values]


def labels(values: Sequence[int]) -> list[Array]:
    return [np.asarray(value) for value in values]


def top1(before: int, after: int, n: int, groups: Sequence[int] | None = None) -> Drop:
    """``before`` samples that only float gets right, ``after`` that only the shipped model does."""
    floats = [0] * (n - after) + [1] * after
    shipped = [1] * before + [0] * (n - before)
    groups = range(n) if groups is None else groups
    return paired_drop(load("top1"), outputs(floats), outputs(shipped), labels([0] * n), groups)


def test_a_drop_in_top1_has_the_interval_of_agresti_and_min() -> None:
    drop = top1(before=8, after=2, n=100)
    assert (drop.float_, drop.shipped, drop.n, drop.groups) == (0.98, 0.92, 100, 100)
    assert drop.drop == pytest.approx(0.06)
    centre, half = 6 / 102, Z * math.sqrt(11 - 36 / 102) / 102
    assert drop.interval == pytest.approx((centre - half, centre + half), abs=1e-7)


def test_no_disagreement_is_no_certainty() -> None:
    drop = top1(0, 0, 98)
    assert drop.drop == 0
    assert drop.interval == pytest.approx((-Z / 100, Z / 100), abs=1e-7)
    grouped = top1(0, 0, 98, [index // 7 for index in range(98)])
    assert grouped.interval[1] > drop.interval[1]  # Student's t over 14 groups


def test_samples_that_move_together_widen_the_interval() -> None:
    apart = top1(20, 0, 200, [index % 40 for index in range(200)])
    together = top1(20, 0, 200, [index // 5 for index in range(200)])
    assert apart.drop == together.drop == 0.1  # 20 / 200, not 1 - 0.9
    assert together.interval[1] - together.drop > 1.5 * (apart.interval[1] - apart.drop)
    assert together.groups == 40


def test_a_single_group_is_cut_into_pieces_and_it_is_said() -> None:
    drop = top1(20, 0, 200, [0] * 200)
    assert drop.groups == 1
    assert "cut into 20 pieces" in drop.method
    assert drop.interval[0] < 0.1 < drop.interval[1]


def test_other_means_have_students_interval() -> None:
    rng = np.random.default_rng(0)
    stats = pytest.importorskip("scipy.stats")
    floats, shipped, truth = rng.normal(size=(3, 30))
    drop = paired_drop(load("mae"), scores(floats), scores(shipped), labels(truth), range(30))
    rise = np.abs(shipped - truth) - np.abs(floats - truth)
    want = stats.ttest_1samp(rise, 0).confidence_interval(0.95)
    assert drop.drop == pytest.approx(rise.mean())  # an error that grows is a loss
    assert drop.interval == pytest.approx((want.low, want.high))


def ranked(noise: float, n: int = 400) -> tuple[Array, Array, list[Array]]:
    rng = np.random.default_rng(3)
    truth = rng.random(n) < 0.4
    floats = rng.normal(size=n) + 1.5 * truth
    return floats, floats + noise * rng.normal(size=n), labels(list(truth.astype(int)))


def delong(floats: Array, shipped: Array, truth: Array) -> tuple[float, float]:
    """DeLong et al. 1988: the difference of two areas and its standard error."""
    parts = []
    for values in (floats, shipped):
        wins = np.sign(values[truth][:, None] - values[~truth][None]) / 2 + 0.5
        parts.append((wins.mean(), wins.mean(axis=1), wins.mean(axis=0)))
    (a, a1, a0), (b, b1, b0) = parts
    spread = (a1 - b1).var(ddof=1) / truth.sum() + (a0 - b0).var(ddof=1) / (~truth).sum()
    return a - b, math.sqrt(spread)


def test_a_drop_in_auc_spreads_as_delong_says() -> None:
    floats, shipped, truth = ranked(0.5)
    drop = paired_drop(load("auc"), scores(floats), scores(shipped), truth, range(400))
    want, error = delong(floats, shipped, np.array(truth) == 1)
    assert drop.drop == pytest.approx(want)
    half = (drop.interval[1] - drop.interval[0]) / 2
    assert half == pytest.approx(1.97 * error, rel=0.15)  # 200 resamples: 5 % is one sigma


@pytest.mark.parametrize("name", ["auc", "f1", "eer"])
def test_pooled_metrics_are_the_same_each_time_and_zero_against_themselves(name: str) -> None:
    floats, shipped, truth = ranked(0.3)
    before, after = 1 / (1 + np.exp(-floats)), 1 / (1 + np.exp(-shipped))
    first = paired_drop(load(name), scores(before), scores(after), truth, range(400))
    assert first == paired_drop(load(name), scores(before), scores(after), truth, range(400))
    assert first.interval[0] < first.drop < first.interval[1]
    same = paired_drop(load(name), scores(before), scores(before), truth, range(400))
    assert same.drop == 0
    assert same.interval[0] < 0 < same.interval[1]


def test_frames_of_a_run_are_pooled_and_runs_are_the_units() -> None:
    floats, shipped, truth = ranked(0.3)
    flat = paired_drop(
        load("auc"), scores(floats), scores(shipped), truth, [index // 10 for index in range(400)]
    )
    before, after = ([{"s": row} for row in x.reshape(40, 10)] for x in (floats, shipped))
    framed = paired_drop(load("auc"), before, after, list(np.reshape(truth, (40, 10))), range(40))
    assert framed.drop == flat.drop
    assert framed.interval == pytest.approx(flat.interval)
    assert (framed.n, flat.n) == (40, 400)


def test_a_class_that_occurs_in_one_group_leaves_the_drop_unknown() -> None:
    floats, shipped, _ = ranked(0.3, 40)
    truth = labels([1] * 20 + [0] * 20)
    drop = paired_drop(load("auc"), scores(floats), scores(shipped), truth, [0] * 20 + [1] * 20)
    assert "too few groups" in drop.method
    assert drop.interval == (drop.drop - 1, drop.drop + 1)


def test_one_sample_shows_nothing() -> None:
    assert top1(0, 0, 1).interval[1] > 0.5
    one = scores(np.ones(1))
    for name in ("mse", "cosine"):
        drop = paired_drop(load(name), one, scores(np.full(1, 3.0)), labels([1]), [0])
        assert drop.interval[1] - drop.drop >= 0.5


def test_agreement_needs_no_labels() -> None:
    drop = paired_drop(
        load("agreement"), outputs([0, 1, 2, 0]), outputs([0, 1, 2, 1]), (), range(4)
    )
    assert (drop.float_, drop.shipped, drop.drop) == (1.0, 0.75, 0.25)


def test_a_metric_of_the_user_is_resampled(tmp_path: Path) -> None:
    text = "def error(outputs, labels):\n    return sum(abs(o['score'] - l).item() for o, l in "
    (tmp_path / "mine.py").write_text(
        text + "zip(outputs, labels)) / len(labels)\nerror.lower_is_better = True\n"
    )
    rng = np.random.default_rng(0)
    floats, shipped, truth = rng.normal(size=(3, 60))
    sets = scores(floats), scores(shipped), labels(truth), range(60)
    mine, built_in = (
        paired_drop(load("mine.py:error", tmp_path), *sets),
        paired_drop(load("mae"), *sets),
    )
    assert mine.drop == pytest.approx(built_in.drop)
    # 50 resamples: a standard error within 30 % (three sigma)
    assert np.diff(mine.interval) == pytest.approx(np.diff(built_in.interval), rel=0.3)


def test_nothing_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="no samples"):
        paired_drop(load("top1"), [], [], [], [])


@pytest.mark.parametrize(("n", "disagreements"), [(100, 0), (100, 2), (300, 9)])
def test_as_many_samples_as_needed_do_show_it(n: int, disagreements: int) -> None:
    drop = top1(disagreements // 3, disagreements // 3, n)
    needed = needed_samples(drop, 0.005)
    assert needed is not None
    assert needed > n
    factor = needed / n
    scaled = round(disagreements // 3 * factor)
    assert top1(scaled, scaled, needed + 1).interval[1] <= 0.005 * 1.03
    assert top1(scaled, scaled, round(needed * 0.8)).interval[1] > 0.005


def test_where_the_estimate_leaves_no_room_no_number_helps() -> None:
    assert needed_samples(top1(0, 0, 50), 0.0) is None
    assert needed_samples(top1(5, 0, 50), 0.05) is None


def test_so_many_samples_tell_a_loss_of_the_limit_from_none_that_the_interval_is_as_narrow() -> (
    None
):
    few = Drop(0.9, 0.885, 0.015, (-0.015, 0.045), 67, 67, "Agresti-Min")
    assert telling_samples(few, 0.01) == 603  # 67 times 3 squared
    assert telling_samples(few, 0.03) is None  # narrow enough to tell
    assert telling_samples(few, 0.0) is None
    worse = Drop(0.9, 0.8, 0.1, (0.04, 0.16), 67, 67, "Agresti-Min")
    assert telling_samples(worse, 0.01) is None  # shown to be too much


def test_small_units_need_as_many_samples_as_large_ones() -> None:
    drop = Drop(1e-5, 1e-5, 0.0, (-4e-6, 4e-6), 100, 100, "Student's t over 100 units")
    assert needed_samples(drop, 2e-6) == 400
