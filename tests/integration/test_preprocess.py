"""Raw input from the project's declaration to the outputs of a bundle."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image as Pillow

import edgepack
from edgepack.base.errors import DataError, RequestError, SafetyError
from edgepack.bench.selftest import selftest
from edgepack.bundle import golden
from edgepack.bundle.open import open_bundle
from edgepack.bundle.pack import pack
from edgepack.cli import main
from edgepack.runtime.model import ready
from edgepack.spec.preprocess import Image, Text, encode
from tests import raws


def loaded(model: onnx.ModelProto, declared: str, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    return edgepack.load(raws.built(model, declared, folder, patch))


def test_a_photograph_gives_what_pillow_and_numpy_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = raws.IMAGE + raws.IMAGENET + 'resize = "bilinear"\n'
    model = loaded(raws.image(3), declared, tmp_path, monkeypatch)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 19, 3), np.uint8)
    small = np.asarray(Pillow.fromarray(pixels).resize((7, 5), Pillow.Resampling.BILINEAR))
    floats = (small / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    wanted = floats.astype(np.float32).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(model.run_raw(pixels)["y"], wanted, rtol=1e-7, atol=1e-7)
    assert model.selftest().n > 1


def test_a_text_gives_its_tokens_and_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = raws.TEXT + 'mask = "mask"\nsplit = "wordpiece"\nbegin = 2\nend = 3\n'
    model = loaded(raws.text(mask=True), declared, tmp_path, monkeypatch)
    assert model.run_raw("The cats")["y"].tolist() == [[2, 4, 5, 8, 3, -1]]
    assert model.preprocess("The cats")["mask"].dtype == np.int32


def test_sound_comes_in_frames_that_overlap_and_carries_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(raws.audio(), raws.AUDIO, tmp_path, monkeypatch)
    first, second = np.array([[4, 8, 12, 16], [20, 24, 28, 32]], np.int16)
    unit = 2.0**-14
    assert (model.run_raw(first)["y"] / unit).tolist() == [[0, 0, 4, 8, 12, 16]]
    assert (model.run_raw(second)["y"] / unit).tolist() == [[12, 16, 24, 32, 40, 48]]
    model.reset()
    assert (model.run_raw(second)["y"] / unit).tolist() == [[0, 0, 20, 24, 28, 32]]


@pytest.mark.parametrize(
    ("model", "declared"),
    [
        (raws.image(3), raws.IMAGE + 'channels = "BGR"\nresize = "nearest"\n'),
        (raws.image(1, "NHWC"), raws.IMAGE + 'channels = "grey"\nlayout = "NHWC"\n'),
        (raws.image(3, kind=TensorProto.UINT8), 'kind = "image"\ninput = "x"\nsize = [5, 7]\n'),
        (raws.text(kind=TensorProto.INT32), raws.TEXT),
    ],
)
def test_the_raw_example_becomes_the_first_golden_sample(
    model: onnx.ModelProto, declared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(raws.built(model, declared, tmp_path, monkeypatch))
    (raw,) = bundle.golden.raw["x"]
    given = str(raw) if raw.dtype.kind == "U" else raw
    made = ready(bundle).preprocess(given)["x"]
    np.testing.assert_array_equal(made, bundle.golden.inputs["x"][0])
    assert ready(bundle).selftest().n >= 2


def test_a_self_test_fails_where_raw_input_becomes_another_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raws.built(raws.image(3), raws.IMAGE, tmp_path, monkeypatch)
    bundle = open_bundle(path)
    raw: Any = {"x": 255 - bundle.golden.raw["x"].astype(np.uint8)}
    other = golden.Golden(bundle.golden.inputs, bundle.golden.outputs, raw)
    members = {"model.onnx": bundle.model, "golden.npz": golden.encode(other), **bundle.extras}
    path.write_bytes(pack(bundle.manifest, members))
    with pytest.raises(SafetyError, match="becomes another 'x' here"):
        edgepack.load(path).selftest()
    with pytest.raises(SafetyError, match="becomes another 'x' here"):
        selftest(open_bundle(path), "qemu:cortex-a53")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preprocess.json": b"{}\n"}, "missing required field"),
        ({"preprocess.json": None}, "nothing says whose"),
        ({"raw": {}}, "no raw input of the kind"),
        ({"preprocess.json": encode(Image("x", (9000, 9000)))}, "gives shape"),
        ({"raw": {"x": np.zeros((1, 5, 7, 3), np.float32)}}, "no raw input of the kind"),
        ({"raw": {"x": np.zeros((99, 5, 7, 3), np.uint8)}}, "more raw inputs than samples"),
    ],
)
def test_a_bundle_whose_parts_contradict_each_other_is_refused(
    change: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(raws.built(raws.image(3), raws.IMAGE, tmp_path, monkeypatch))
    raw = change.pop("raw", bundle.golden.raw)
    other = golden.Golden(bundle.golden.inputs, bundle.golden.outputs, raw)
    members = {"model.onnx": bundle.model, "golden.npz": golden.encode(other), **bundle.extras}
    kept = {name: data for name, data in {**members, **change}.items() if data is not None}
    with pytest.raises(SafetyError, match=reason):
        pack(bundle.manifest, kept)


def test_a_size_that_the_golden_samples_do_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model leaves the length open: nothing else would keep a reader from making room for it.
    bundle = open_bundle(raws.built(raws.open_text(), raws.TEXT, tmp_path, monkeypatch))
    assert isinstance(bundle.preprocess, Text)
    longer = encode(msgspec.structs.replace(bundle.preprocess, length=1 << 24))
    members = {"model.onnx": bundle.model, "golden.npz": golden.encode(bundle.golden)}
    members |= {**bundle.extras, "preprocess.json": longer}
    with pytest.raises(SafetyError, match="another shape than raw input becomes"):
        pack(bundle.manifest, members)


def test_data_that_the_declared_preprocessing_cannot_give_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "data.npz", x=np.linspace(-1, 1, 210, dtype=np.float32).reshape(2, 3, 5, 7))
    declared = raws.IMAGE + '[data]\nevaluation = "data.npz"\nmetric = "agreement"\n'
    with pytest.raises(RequestError, match="values from 0 to 1, and the data") as caught:
        raws.built(raws.image(3), declared, tmp_path, monkeypatch)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (raws.TEXT.replace("words.txt", "none.txt"), "cannot read the vocabulary"),
        (raws.TEXT + "unknown = 99\n", "token 99 is beyond the 19 lines"),
        (raws.TEXT.replace("length = 6", "length = 7"), r"gives shape \[1, 7\]"),
    ],
)
def test_what_does_not_serve_is_refused_before_any_work(
    declared: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestError, match=reason):
        raws.built(raws.text(), declared, tmp_path, monkeypatch)


def test_a_bundle_without_a_declaration_takes_samples_alone(tmp_path: Path) -> None:
    from tests.apps import built

    model = edgepack.load(built(raws.image(3), tmp_path))
    with pytest.raises(DataError, match="does not say how raw input becomes a sample"):
        model.run_raw(np.zeros((5, 7, 3), np.uint8))
    assert model.preprocessing is None


def test_pixels_of_another_kind_are_refused_with_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(raws.image(3), raws.IMAGE, tmp_path, monkeypatch)
    with pytest.raises(DataError, match="the image is 9x9") as caught:
        model.run_raw(np.zeros((9, 9, 3), np.uint8))
    assert caught.value.hint.startswith("give uint8 pixels")


def test_inspect_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = raws.built(raws.image(3), raws.IMAGE, tmp_path, monkeypatch)
    assert main(["inspect", str(path)]) == 0
    assert "image, 7x5 RGB" in capsys.readouterr().out
