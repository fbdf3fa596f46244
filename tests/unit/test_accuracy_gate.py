"""What the accuracy gate must not let through: each case once shipped."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper

from edgepack.data import metrics
from edgepack.gate.accuracy import Limit, judge
from edgepack.gate.evaluate import Scored
from edgepack.graph.picked import picked_outputs
from tests import graphs

Outputs = dict[str, npt.NDArray[np.generic]]


def scored(outputs: list[Outputs], labels: list[int] | None = None) -> Scored:
    given = tuple(np.array(label) for label in labels or ())
    return Scored(tuple(outputs), given, tuple(range(len(outputs))))


def limit(metric: str | None = None) -> Limit:
    return Limit(None if metric is None else metrics.load(metric), None, strict=False, where="here")


def test_a_small_output_that_is_destroyed_is_not_hidden_by_a_large_one() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(0, 640, (32, 1, 4)), rng.uniform(0, 1, (32, 1, 80))
    noise = rng.uniform(0, 1, scores.shape)
    float_ = scored([{"boxes": b, "scores": s} for b, s in zip(boxes, scores, strict=True)])
    shipped = scored([{"boxes": b, "scores": s} for b, s in zip(boxes, noise, strict=True)])
    judged = judge(float_, shipped, limit())
    assert not judged.passed
    assert "'scores'" in judged.sentence


def test_an_output_that_the_metric_does_not_see_may_not_become_a_constant() -> None:
    rng = np.random.default_rng(0)
    scores, ages = rng.normal(size=(64, 1, 3)), 10 + rng.normal(size=(64, 1, 1))
    labels = [int(row.argmax()) for row in scores]
    float_ = scored([{"s": s, "age": a} for s, a in zip(scores, ages, strict=True)], labels)
    still = scored([{"s": s, "age": np.full((1, 1), 10.0)} for s in scores], labels)
    judged = judge(float_, still, limit("top1"))
    assert not judged.passed
    assert "'age'" in judged.sentence
    assert judge(float_, float_, limit("top1")).passed


def test_rows_picked_in_another_order_are_left_to_the_metric() -> None:
    rng = np.random.default_rng(0)
    best, boxes = np.eye(3)[None, :1], rng.uniform(0, 640, (32, 1, 5, 4))
    float_ = scored([{"s": best, "boxes": b} for b in boxes], [0] * 32)
    turned = scored([{"s": best, "boxes": b[:, ::-1]} for b in boxes], [0] * 32)
    plain, aware = limit("top1"), replace(limit("top1"), picked=frozenset({"boxes"}))
    assert not judge(float_, turned, plain).passed
    assert judge(float_, turned, aware).passed
    unlabelled = judge(float_, turned, replace(limit(), picked=frozenset({"boxes"})))
    assert not unlabelled.passed
    assert unlabelled.sentence.endswith("give labels and a metric that matches them")


def test_outputs_behind_top_k_are_picked_and_what_it_reads_is_not() -> None:
    model = graphs.network(
        [
            helper.make_node("Relu", ["x"], ["raw"], name="relu"),
            helper.make_node("TopK", ["raw", "k"], ["best", "where"], name="topk"),
            helper.make_node("Neg", ["best"], ["y"], name="neg"),
        ],
        {"k": np.array([2], np.int64)},
        shape=["batch", 4],
        outputs=["y", "raw"],
    )
    assert picked_outputs(model) == {"y"}


def test_a_float_model_no_better_than_chance_is_said_to_be_one() -> None:
    rows = [np.eye(4)[None, i % 4] for i in range(40)]
    off_by_one = scored([{"s": row} for row in rows], [(i + 1) % 4 for i in range(40)])
    assert "no better than chance" in judge(off_by_one, off_by_one, limit("top1")).sentence


def test_an_output_that_is_not_a_number_is_refused() -> None:
    fine = scored([{"s": np.array([[0.1, 0.9]])}] * 3, [1, 1, 1])
    broken = scored([{"s": np.array([[np.nan, 0.9]])}] * 3, [1, 1, 1])
    assert not judge(fine, broken, limit("top1")).passed
    assert not judge(fine, broken, limit()).passed


def test_another_model_does_not_pass_because_the_metric_likes_it() -> None:
    rng = np.random.default_rng(0)
    labels = [int(label) for label in rng.integers(0, 2, 200)]
    honest = rng.uniform(0, 1, (200, 1, 1))
    flattering = np.array(labels, float).reshape(200, 1, 1)
    float_ = scored([{"p": row} for row in honest], labels)
    judged = judge(float_, scored([{"p": row} for row in flattering], labels), limit("auc"))
    assert judged.accuracy is not None
    assert judged.accuracy.drop < 0
    assert not judged.passed


@pytest.mark.parametrize(("angle", "passes"), [(0.135, True), (0.15, False)])
def test_embeddings_are_held_to_a_hundredth_of_cosine(angle: float, passes: bool) -> None:  # noqa: FBT001
    """Unit rows turned by an angle; cos 0.1415 is 0.99."""
    rng = np.random.default_rng(0)
    rows = [row / np.linalg.norm(row) for row in rng.normal(size=(40, 1, 16))]
    aside = [rng.normal(size=(1, 16)) for _ in rows]
    aside = [a - (a * r).sum() * r for a, r in zip(aside, rows, strict=True)]
    turned = [
        np.cos(angle) * r + np.sin(angle) * a / np.linalg.norm(a)
        for r, a in zip(rows, aside, strict=True)
    ]
    judged = judge(scored([{"e": r} for r in rows]), scored([{"e": t} for t in turned]), limit())
    assert judged.passed is passes
    assert judged.accuracy is not None
    assert judged.accuracy.metric == "cosine"
    assert np.isclose(judged.accuracy.drop, 1 - np.cos(angle))


def test_embeddings_that_all_point_one_way_may_not_lose_what_little_they_say() -> None:
    """Where vectors hardly differ, a cosine of 0.999 may stand for noise alone."""
    rng = np.random.default_rng(0)
    centre = np.ones((1, 16))
    rows = [centre + 0.02 * rng.normal(size=(1, 16)) for _ in range(40)]
    other = [centre + 0.02 * rng.normal(size=(1, 16)) for _ in range(40)]
    unit = [[{"e": row / np.linalg.norm(row)} for row in each] for each in (rows, other)]
    judged = judge(scored(unit[0]), scored(unit[1]), limit())
    assert judged.accuracy is not None
    assert judged.accuracy.drop < 0.001
    assert not judged.passed


@pytest.mark.parametrize(
    ("flips", "n", "needs"), [(1, 60, True), (30, 60, False), (5, 2000, False)]
)
def test_what_so_few_samples_cannot_tell_says_how_many_would(
    flips: int,
    n: int,
    needs: bool,  # noqa: FBT001
) -> None:
    """One flip of 60 is 0.017 and may be luck, 30 are not; 5 of 2000 pass."""
    rows = [np.eye(4)[None, i % 4] for i in range(n)]
    wrong = [np.eye(4)[None, (i + (i < flips)) % 4] for i in range(n)]
    labels = [i % 4 for i in range(n)]
    shipped = scored([{"s": row} for row in wrong], labels)
    judged = judge(scored([{"s": row} for row in rows], labels), shipped, limit("top1"))
    assert bool(judged.needs) is needs
    assert ("too few samples to tell: needs about" in judged.sentence) is needs
    assert judged.needs == 0 or judged.needs > n


def test_a_model_against_itself_is_certain_and_another_that_agrees_so_far_is_not() -> None:
    labels = [i % 4 for i in range(40)]
    rows: list[Outputs] = [{"s": np.eye(4)[None, label]} for label in labels]
    float_, twin = scored(rows, labels), scored([dict(row) for row in rows], labels)
    itself, other = judge(float_, float_, limit("top1")), judge(float_, twin, limit("top1"))
    assert itself.accuracy is not None
    assert other.accuracy is not None
    assert (itself.accuracy.drop, itself.accuracy.interval) == (0.0, (0.0, 0.0))
    assert itself.accuracy.shown
    assert np.allclose(other.accuracy.interval, np.array([-1.96, 1.96]) / 42, atol=1e-5)
    assert "no decision differs, the interval is what 40 samples leave open" in other.sentence
    assert "no decision differs" not in itself.sentence
