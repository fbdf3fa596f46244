"""Labels held against the shape of the output before a model is calibrated."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.base.errors import DataError, RequestError
from edgepack.data import metrics
from edgepack.data.samples import open_dataset
from edgepack.graph.census import signature
from edgepack.intake.labels import check
from edgepack.intake.source import Source
from tests.models import linear, proto, value

X = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)


def _check(model: ir.Model, metric: str, data: object) -> None:
    face = signature(model)
    judge = open_dataset(data, face, labelled=True)
    check(metrics.load(metric), judge, Source(model, face, "", "none", ()))


def test_labels_that_fit_are_let_through() -> None:
    _check(linear(), "top1", {"x": X, "labels": np.arange(6)})
    _check(linear(), "mse", {"x": X, "labels": np.zeros((6, 64), np.float32)})
    _check(linear(cols=2), "auc", {"x": X, "labels": np.arange(6) % 2})


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("top5", np.full(6, -1)),
        ("f1", np.full(6, 64)),
        ("mse", np.zeros((6, 63), np.float32)),
        ("eer", np.zeros(6, np.int64)),
        ("auc", np.arange(6) % 2 * 0),
    ],
)
def test_labels_that_do_not_fit_are_data_errors(metric: str, labels: object) -> None:
    cols = 2 if metric == "auc" else 64
    with pytest.raises(DataError) as caught:
        _check(linear(cols=cols), metric, {"x": X, "labels": labels})
    assert caught.value.code == "E-DATA-LABELS"


def test_a_metric_for_two_classes_is_refused_for_more() -> None:
    with pytest.raises(RequestError, match="the metric is for two"):
        _check(linear(), "auc", {"x": X, "labels": np.arange(6) % 2})


def test_outputs_whose_shape_depends_on_values_are_taken_as_they_are() -> None:
    places = proto(
        [helper.make_node("NonZero", ["x"], ["y"], name="places")],
        inputs=[value("x", [4])],
        outputs=[value("y", [1, "count"], onnx.TensorProto.INT64)],
    )
    few, many = (np.array(row, np.float32) for row in ([0, 0, 1, 0], [1, 2, 0, 3]))
    items = [({"x": few}, np.array([[2.0]])), ({"x": many}, np.array([[0.0, 1, 3]]))]
    _check(ir.from_proto(places), "mse", items)
    items[1] = ({"x": many}, np.array([[0.0, 1]]))
    with pytest.raises(DataError):
        _check(ir.from_proto(places), "mse", items)
