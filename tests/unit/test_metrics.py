from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.base import registry
from edgepack.base.errors import DataError, EdgepackError, ModelError, RequestError
from edgepack.data import metrics
from edgepack.data.metrics.eer import Eer

Array = np.ndarray[Any, Any]


def score(name: str, outputs: list[Any], labels: list[Any]) -> float:
    runs = [{"first": np.asarray(output, np.float32)} for output in outputs]
    return metrics.load(name).score(runs, [np.asarray(label) for label in labels])


ROWS = [[[0.1, 0.7, 0.2]], [[0.5, 0.3, 0.2]], [[0.2, 0.3, 0.5]], [[0.4, 0.4, 0.2]]]


def test_top1_by_hand() -> None:
    assert score("top1", ROWS, [1, 0, 0, 0]) == 0.75
    assert score("top1", ROWS, [1, 0, 2, 1]) == 0.75  # argmax takes the first of equal scores


def test_top5_by_hand() -> None:
    rows = [[[6, 5, 4, 3, 2, 1, 0]], [[0, 0, 0, 0, 0, 0, 0]]]
    assert score("top5", rows, [4, 4]) == 1.0
    assert score("top5", rows, [5, 5]) == 0.0  # equal scores: the first five


@pytest.mark.parametrize(
    ("shape", "label"),
    [((1, 4, 3), (4,)), ((1, 4, 3), (1, 4)), ((1, 3, 2, 2), (1, 2, 2)), ((4, 3), (4,))],
)
def test_a_label_may_hold_one_class_per_position(
    shape: tuple[int, ...], label: tuple[int, ...]
) -> None:
    rows = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    output = rows.T.reshape(shape) if len(shape) == 4 else rows.reshape(shape)
    assert score("top1", [output], [np.reshape([2, 1, 0, 0], label)]) == 0.75


def test_binary_f1_by_hand() -> None:
    outputs = [[[0.9]], [[0.8]], [[0.4]], [[0.3]], [[0.5]]]
    # above a half: 2, of which 1 is right; positives: 3 -> 2 * 1 / (2 + 3)
    assert score("f1", outputs, [1, 0, 1, 1, 0]) == pytest.approx(0.4)
    pairs = [[[1 - row[0][0], row[0][0]]] for row in outputs]
    assert score("f1", pairs, [1, 0, 1, 1, 0]) == pytest.approx(0.4)
    assert score("f1", outputs, [0, 0, 0, 0, 0]) == 0.0


def test_macro_f1_by_hand() -> None:
    # decisions 1, 0, 2, 0; labels 1, 0, 0, 0: F1 of class 0 is 2*2/(2+3), of 1 is 1, 2 has no label
    assert score("f1", ROWS, [1, 0, 0, 0]) == pytest.approx((0.8 + 1) / 2)


def test_auc_by_hand() -> None:
    assert score("auc", [[0.1], [0.4], [0.35], [0.8]], [0, 0, 1, 1]) == 0.75
    assert score("auc", [[0.5], [0.5], [0.5]], [0, 1, 1]) == 0.5
    assert score("auc", [[[0.1, 0.4, 0.35, 0.8]]], [[0, 0, 1, 1]]) == 0.75  # frames of one run


def test_auc_is_the_rank_sum_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + truth, 1)  # rounded: many ties
    area = (
        stats.mannwhitneyu(scores[truth], scores[~truth]).statistic / truth.sum() / (~truth).sum()
    )
    found = score("auc", [[[value]] for value in scores], list(truth.astype(int)))
    assert found == pytest.approx(area, abs=1e-12)


def test_two_class_scores_rank_as_their_softmax() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(50, 2))
    truth = list((rng.random(50) < 0.5).astype(int))
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert score("auc", [[row] for row in logits], truth) == pytest.approx(
        score("auc", [[[row[1]]] for row in soft.astype(np.float32)], truth), abs=1e-12
    )


def test_eer_by_hand() -> None:
    assert score("eer", [[0.9], [0.8], [0.2], [0.1]], [1, 1, 0, 0]) == 0.0
    assert score("eer", [[0.9], [0.8], [0.2], [0.1]], [0, 0, 1, 1]) == 1.0
    assert score("eer", [[0.9], [0.8], [0.7], [0.1]], [1, 0, 1, 0]) == 0.5
    assert score("eer", [[0.5]] * 4, [1, 0, 1, 0]) == 0.5  # one step from (0, 1) to (1, 0)
    # misses fall 1, 2/3, 1/3 while false alarms rise 0, 0, 1/2: they cross at 2/5 of the last step
    assert score("eer", [[4], [3], [3], [2], [1]], [1, 1, 0, 1, 0]) == pytest.approx(0.4)


def test_eer_of_embeddings_scores_every_pair() -> None:
    people = [[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0.1], [0.1, 1, 0]]
    assert score("eer", [[vector] for vector in people], [7, 7, 9, 9]) == 0.0
    # positives 0.20 and 0.01; negatives 0.99, 0.99, 0.10, 0.10: half of each on the wrong side
    assert score("eer", [[vector] for vector in people], [7, 9, 7, 9]) == 0.5
    assert (
        score("eer", [[people[0]], [people[0]], *[[v] for v in people[1:]]], [7, 7, 7, 9, 9]) == 0.0
    )
    assert Eer().evidence([{"e": np.ones((1, 3))}], [np.array(0)]).values.shape == (1, 3)


def test_regression_errors_by_hand() -> None:
    outputs, labels = [[[1.0, 2.0]], [[3.0, 5.0]]], [[1.0, 4.0], [3.0, 4.0]]
    assert score("mse", outputs, labels) == (2.0 + 0.5) / 2
    assert score("mae", outputs, labels) == (1.0 + 0.5) / 2


def test_closeness_to_float_by_hand() -> None:
    floats = [[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[3.0, 4.0]]]
    outputs = [[[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]], [[3.0, 4.0]]]
    assert score("cosine", outputs, floats) == pytest.approx((1 / np.sqrt(2) + 1 + 0 + 1) / 4)
    assert score("agreement", [[[2, 1]], [[1, 2]]], [[[9, 1]], [[9, 1]]]) == 0.5
    assert score("agreement", [[[0.6]], [[0.4]]], [[[0.9]], [[0.7]]]) == 0.5
    assert score("agreement", [[0.6, 0.4]], [[0.9, 0.7]]) == 0.5  # rank 1: single scores


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "kind", "words"),
    [
        ("top1", ROWS, [1, 0, 3, 0], DataError, "label 3 of sample 2.* 0 to 2"),
        ("top1", ROWS, [1, 0, -1, 0], DataError, "label -1 of sample 2"),
        ("top1", ROWS, [1, 0, 0.5, 0], DataError, "label 0.5 of sample 2"),
        ("top1", ROWS, [1, 0, "cat", 0], DataError, "'cat'"),
        ("top1", ROWS, [1, 0, [0, 1], 0], DataError, r"sample 2: a label of \[2\]"),
        ("top1", [[[0.3]]], [1], RequestError, "1 of 1"),
        ("top5", ROWS, [1, 0, 0, 0], RequestError, "5 of 3"),
        ("f1", [[[3.0]], [[0.2]]], [1, 0], RequestError, "no probability"),
        ("f1", [[[0.3]], [[0.2]]], [1, 2], DataError, "label 2 of sample 1"),
        ("auc", ROWS, [1, 0, 0, 0], RequestError, "3 classes"),
        ("auc", [[0.1], [0.2]], [1, 1], DataError, "all labels are the same"),
        ("eer", [[0.1], [0.2]], [0, 0], DataError, "all labels are the same"),
        ("eer", [[[1, 2, 3]], [[1, 2, 4]]], [3, 3], DataError, "all labels are the same"),
        ("mse", ROWS, [1, 0, 0, 0], DataError, "sample 0"),
        ("mae", [[[1, 2], [3, 4]]], [[1, 2, 3, 4]], DataError, "sample 0"),
        ("agreement", [[[3.0]]], [[[2.0]]], RequestError, "no probability"),
    ],
)
def test_labels_and_outputs_that_do_not_fit_are_named(
    name: str, outputs: list[Any], labels: list[Any], kind: type[EdgepackError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        score(name, outputs, labels)


@pytest.mark.parametrize("name", ["top1", "auc", "cosine"])
def test_an_output_that_is_not_a_number_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match="'first' is NaN for sample 1"):
        score(name, [[[1, 2]], [[1, np.nan]]], [0, 1])


def test_the_first_output_is_judged() -> None:
    runs = [{"a": np.array([[0, 1]]), "b": np.array([[1, 0]])}]
    assert metrics.load("top1").score(runs, [np.array(1)]) == 1.0


def own(folder: Path, body: str) -> metrics.Metric:
    (folder / "mine.py").write_text(f"def score(outputs, labels):\n    {body}\nconstant = 3\n")
    return metrics.load("mine.py:score", folder)


def test_a_metric_of_the_user_is_called_with_dicts_and_labels(tmp_path: Path) -> None:
    metric = own(tmp_path, "return sum(o['a'][0, 0] == l for o, l in zip(outputs, labels))")
    assert metric.score([{"a": np.array([[4]])}] * 3, [np.array(4)] * 3) == 3.0
    assert (metric.name, metric.lower_is_better, metric.needs_labels) == (
        "mine.py:score",
        False,
        True,
    )


def test_a_metric_of_the_user_says_its_direction(tmp_path: Path) -> None:
    assert own(tmp_path, "return 1\nscore.lower_is_better = True").lower_is_better


@pytest.mark.parametrize(
    "body", ["return 'good'", "return float('nan')", "return None", "return 1 / 0"]
)
def test_a_metric_of_the_user_that_gives_no_number_is_named(tmp_path: Path, body: str) -> None:
    with pytest.raises(RequestError, match=r"mine\.py:score"):
        own(tmp_path, body).score([], [])


def test_a_metric_that_is_not_there_has_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no metric named 'top_1'") as caught:
        metrics.load("top_1")
    assert "top1" in caught.value.hint
    own(tmp_path, "return 1")
    with pytest.raises(RequestError, match="cannot be called"):
        metrics.load("mine.py:constant", tmp_path)


@pytest.mark.parametrize("name", registry.names("data.metrics"))
def test_a_metric_is_called_what_its_file_is(name: str) -> None:
    assert metrics.load(name).name == name


@pytest.mark.parametrize("name", ["top1", "top5"])
def test_one_hot_labels_are_told_from_classes(name: str) -> None:
    with pytest.raises(DataError, match=r"label of sample 0 is an array \[7\]") as caught:
        score(name, [[[1, 2, 3, 4, 5, 6, 7]]], [[0, 1, 0, 0, 0, 0, 0]])
    assert "argmax" in caught.value.hint
