"""Laws of every metric in the registry; a new file is held to them without a line added."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.base import registry
from edgepack.data.metrics import Metric, Pooled, load
from edgepack.data.paired import paired_drop

Array = np.ndarray[Any, Any]
Run = dict[str, Array]
NAMES = registry.names("data.metrics")
seeds = st.integers(0, 2**32 - 1)


def drawn(name: str, seed: int, n: int = 24) -> tuple[list[Run], list[Run], list[Array]]:
    """Outputs of two models that are alike, and labels, in the form the metric takes."""
    rng = np.random.default_rng(seed)
    width = 7 if name.startswith("top") else 2
    floats = rng.random((n, 1, width)).astype(np.float32)
    shipped = (floats + 0.2 * rng.random(floats.shape)).astype(np.float32)
    truth = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
    labels = list(floats + rng.random(floats.shape)) if name in {"mse", "mae"} else list(truth)
    as_arrays = [np.asarray(label) for label in labels]
    return [{"y": row} for row in floats], [{"y": row} for row in shipped], as_arrays


def references(metric: Metric, floats: list[Run], labels: list[Array]) -> list[Array]:
    return labels if metric.needs_labels else [run["y"] for run in floats]


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_a_model_loses_nothing_against_itself(name: str, seed: int) -> None:
    floats, _, labels = drawn(name, seed)
    drop = paired_drop(load(name), floats, floats, labels, range(24))
    assert drop.drop == 0
    assert drop.float_ == drop.shipped
    assert drop.interval == (0, 0)


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_what_one_model_loses_the_other_gains(name: str, seed: int) -> None:
    floats, shipped, labels = drawn(name, seed)
    metric = load(name)
    drop = paired_drop(metric, floats, shipped, labels, range(24))
    low, high = drop.interval
    assert low <= drop.drop <= high
    worse = drop.shipped > drop.float_ if metric.lower_is_better else drop.shipped < drop.float_
    assert worse == (drop.drop > 0)
    if metric.needs_labels:
        back = paired_drop(metric, shipped, floats, labels, range(24))
        assert back.drop == -drop.drop
        assert back.interval == pytest.approx((-high, -low))


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_order_of_samples_does_not_matter(name: str, seed: int) -> None:
    floats, shipped, labels = drawn(name, seed)
    metric = load(name)
    labels = references(metric, floats, labels)
    order = np.random.default_rng(seed).permutation(24)
    mixed = metric.score([shipped[i] for i in order], [labels[i] for i in order])
    assert mixed == pytest.approx(metric.score(shipped, labels), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_scoring_changes_neither_outputs_nor_labels(name: str, seed: int) -> None:
    floats, shipped, labels = drawn(name, seed)
    labels = references(load(name), floats, labels)
    before = [run["y"].tobytes() for run in shipped] + [label.tobytes() for label in labels]
    load(name).score(shipped, labels)
    assert before == [run["y"].tobytes() for run in shipped] + [label.tobytes() for label in labels]


@pytest.mark.parametrize("name", ["top1", "top5", "f1", "auc", "eer", "agreement"])
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_score_that_is_a_rate_lies_between_0_and_1(name: str, seed: int) -> None:
    floats, shipped, labels = drawn(name, seed)
    assert 0 <= load(name).score(shipped, references(load(name), floats, labels)) <= 1


@pytest.mark.parametrize("name", ["auc", "eer"])
@given(seed=seeds, scale=st.floats(0.5, 20), shift=st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_ranks_do_not_change_under_a_rising_map(
    name: str, seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=40), 1)  # rounded, so that ties stay ties and gaps gaps
    labels = [np.asarray(label) for label in [0, 1, *rng.integers(0, 2, 38)]]
    metric = load(name)
    plain = metric.score([{"y": np.array([[v]])} for v in values], labels)
    mapped = metric.score([{"y": np.array([[np.exp(v) * scale + shift]])} for v in values], labels)
    assert mapped == pytest.approx(plain, abs=1e-12)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_auc_of_the_opposite_scores_is_the_rest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=40), 1)
    labels = [np.asarray(label) for label in [0, 1, *rng.integers(0, 2, 38)]]
    metric = load("auc")
    up, down = (metric.score([{"y": np.array([[s * v]])} for v in values], labels) for s in (1, -1))
    assert up + down == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["auc", "f1", "eer"])
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_doubling_every_sample_changes_no_rate(name: str, seed: int) -> None:
    _, shipped, labels = drawn(name, seed)
    metric = load(name)
    assert isinstance(metric, Pooled)
    assert metric.score(shipped * 2, labels * 2) == pytest.approx(
        metric.score(shipped, labels), abs=1e-12
    )
