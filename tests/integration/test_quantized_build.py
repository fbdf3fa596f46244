"""Builds of what another tool made: it ships as it is, proved; nothing rounds it a second time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import quantization  # noqa: TID251 - the other tool
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgepack.base.errors import ModelError
from edgepack.bench.selftest import selftest
from edgepack.build import build
from edgepack.bundle.open import open_bundle
from edgepack.calibrate import calibrate
from edgepack.report.built import Built
from edgepack.runtime.session import Options, Session
from tests.projects import stripes, write_stripes

KINDS = ("QDQ", "QOperator", "dynamic")


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._left: Iterator[dict[str, np.ndarray]] = iter(
            [{"image": image[None]} for image in stripes(8, 1)[0]]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_stripes(tmp_path_factory.mktemp("quantized"))
    source = str(folder / "model.onnx")
    for kind in KINDS[:2]:
        form = quantization.QuantFormat[kind]
        quantization.quantize_static(
            source, str(folder / f"{kind}.onnx"), Reader(), quant_format=form, reduce_range=True
        )
    quantization.quantize_dynamic(source, str(folder / "dynamic.onnx"))
    half = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    onnx.save(half, folder / "half.onnx")
    return folder


def _build(folder: Path, model: str, out: Path, target: str = "x86_64", **more: object) -> Built:
    fields = {"recipe": "float32", "evaluation": str(folder / "eval.npz"), "out": out}
    return build(str(folder / model), target=target, **(fields | more))


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_is_packed_and_proved_as_it_is(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    built = _build(folder, f"{kind}.onnx", tmp_path)
    bundle = open_bundle(built.path)
    assert all(selftest(bundle, "local").passed.values())
    given, shipped = (
        Session(data, Options()).run({"image": stripes(4, 3)[0]})["scores"]
        for data in ((folder / f"{kind}.onnx").read_bytes(), bundle.model)
    )
    assert given.tobytes() == shipped.tobytes()
    operators = built.manifest.precision.operators
    assert any(
        name.startswith(("Conv", "QLinearConv")) for name, n in operators.items() if "int8" in n
    )
    assert built.speed == "int8 as given ships: nothing else was asked for"
    assert any("it ships as it is" in note for note in built.manifest.lineage.notes)
    assert {step.skipped for step in built.manifest.lineage.steps} == {
        "the model was quantized before"
    }


def test_a_quantized_model_runs_on_the_kernels_of_its_target(folder: Path, tmp_path: Path) -> None:
    built = _build(folder, "QDQ.onnx", tmp_path, "arm64")
    assert [entry.device for entry in built.manifest.executed] == [
        "qemu:cortex-a53",
        "qemu:cortex-a72",
    ]


@pytest.mark.parametrize("recipe", ["int8", "float16", "mixed"])
def test_recipes_that_change_values_refuse_it_and_name_the_one_that_does_not(
    folder: Path, tmp_path: Path, recipe: str
) -> None:
    with pytest.raises(ModelError, match="is quantized already") as caught:
        _build(folder, "QDQ.onnx", tmp_path, recipe=recipe)
    assert caught.value.code == "E-QUANT-TWICE"
    assert "--recipe float32" in str(caught.value.hint)


def test_nothing_of_it_is_calibrated(folder: Path) -> None:
    with pytest.raises(ModelError, match="is quantized already"):
        calibrate(str(folder / "QDQ.onnx"), target="x86_64", calib=str(folder / "calib.npz"))


def test_of_a_model_in_float16_the_report_says_that_float16_ships(
    folder: Path, tmp_path: Path
) -> None:
    built = _build(folder, "half.onnx", tmp_path)
    assert built.speed == "float16 as given ships: nothing else was asked for"
