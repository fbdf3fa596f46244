"""Generated pages take a picture, a text or a recording as it is, and say what ``load`` does."""

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser

import edgepack
from edgepack.bundle.open import open_bundle
from edgepack.embed import embed
from tests import apps, browser, raws
from tests.models import proto, value

RUNTIME = Path(__file__).parents[2] / ".node" / "node_modules" / "onnxruntime-web"

OTHER = "const example = (given, bytes = given.map((byte) => byte ^ 3)) =>"


@pytest.fixture(scope="module", autouse=True)
def chromium() -> Iterator[Browser]:
    apps.need(browser.CHROMIUM, "no chromium: scripts/setup")
    apps.need(RUNTIME.is_dir(), "no onnxruntime-web: scripts/setup")
    with browser.chromium() as found:
        yield found


def page_of(bundle: Path, folder: Path) -> Path:
    embed(open_bundle(bundle), "web", folder, RUNTIME)
    return folder


def corner() -> onnx.ModelProto:
    """Return a model that gives the first values of an image of 8x9."""
    shape: list[int | str] = ["n", 3, 8, 9]
    nodes = [onnx.helper.make_node("Slice", ["x", "from", "to"], ["y"])]
    weights: dict[str, Any] = {"from": np.zeros(4, np.int64), "to": np.array([1, 3, 2, 3])}
    inputs, outputs = [value("x", shape)], [value("y", ["n", 3, 2, 3])]
    return proto(nodes, weights, inputs=inputs, outputs=outputs)


def test_a_page_takes_a_picture_as_load_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    declared = raws.IMAGE.replace("[5, 7]", "[8, 9]") + raws.IMAGENET + 'resize = "bilinear"\n'
    bundle = raws.built(corner(), declared, tmp_path / "x", monkeypatch)
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "x.png")
    wanted = edgepack.load(bundle).run_raw(pixels)["y"].ravel().tolist()
    app = page_of(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("Self-test passed")
        with seen.ran():
            seen.page.set_input_files("input[type=file]", tmp_path / "x.png")
        assert [float(text) for text in seen.values()] == pytest.approx(wanted, rel=1e-3)
        assert seen.page.locator("input[type=number]").count() == 0
        assert seen.said == []


def test_a_page_takes_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    declared = raws.TEXT + 'mask = "mask"\nsplit = "wordpiece"\nbegin = 2\nend = 3\n'
    bundle = raws.built(raws.text(mask=True), declared, tmp_path / "x", monkeypatch)
    app = page_of(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        with seen.ran():
            seen.page.fill("textarea >> nth=0", "The cats")
        assert seen.values() == ["2", "4", "5", "8", "3", "-1"]
        assert seen.said == []


def test_a_page_hears_a_recording_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    bundle = raws.built(raws.audio(), raws.AUDIO, tmp_path / "x", monkeypatch)
    samples = np.arange(0, 9000, 1000, dtype=np.int16)
    for name, rate in (("x.wav", 16000), ("slow.wav", 8000)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, rate, 9, "NONE", ""))
            file.writeframes(samples.tobytes())
    model = edgepack.load(bundle)
    model.run_raw(samples[:4])
    wanted = model.run_raw(samples[4:8])["y"].ravel().tolist()
    app = page_of(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        with seen.ran():
            seen.page.set_input_files("input[type=file] >> nth=0", tmp_path / "x.wav")
        assert [float(text) for text in seen.values()] == pytest.approx(wanted, rel=1e-3)
        seen.page.set_input_files("input[type=file] >> nth=0", tmp_path / "slow.wav")
        seen.page.wait_for_function("error.textContent")
        assert seen.text("#error") == "this is no WAV file of one channel, 16 bits and 16000 Hz."
        assert seen.said == []


@pytest.mark.parametrize(
    ("model", "declared"),
    [(raws.image(3), raws.IMAGE), (raws.text(), raws.TEXT), (raws.audio(), raws.AUDIO)],
)
def test_a_page_fails_its_self_test_where_raw_input_becomes_other_numbers(
    model: onnx.ModelProto,
    declared: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chromium: Browser,
) -> None:
    app = page_of(raws.built(model, declared, tmp_path / "x", monkeypatch), tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("Self-test passed")
    script = app / "raw.mjs"
    script.write_text(script.read_text().replace("const example = (bytes) =>", OTHER))
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("Self-test failed: raw input becomes other numbers")
