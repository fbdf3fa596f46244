"""Generated pages, opened by Chromium."""

import json
import subprocess
import wave
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow
from playwright.sync_api import Browser

import edgepack
from edgepack.bundle.open import open_bundle
from edgepack.cli import main
from edgepack.embed import embed
from edgepack.runtime.model import shipped_options
from edgepack.runtime.session import Session
from tests import apps, browser, raws
from tests.models import proto, value

MODULES = Path(__file__).parents[2] / ".node" / "node_modules"  # scripts/setup puts them there
RUNTIME = MODULES / "onnxruntime-web"
BESIDE = 40_000  # bytes that a page may fetch beside model and runtime


@pytest.fixture(scope="module", autouse=True)
def chromium() -> Iterator[Browser]:
    apps.need(browser.CHROMIUM, "no chromium: scripts/setup")
    apps.need(RUNTIME.is_dir(), "no onnxruntime-web: scripts/setup")
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apps.stripes(tmp_path_factory.mktemp("stripes"), "web")


def embedded(bundle: Path, folder: Path) -> Path:
    embed(open_bundle(bundle), "web", folder, RUNTIME)
    return folder


def node(bundle: Path, folder: Path) -> str:
    """Return what the self-test says in Node.js, where it passes."""
    embed(open_bundle(bundle), "node", folder)
    (folder / "node_modules").symlink_to(MODULES)
    command = ["node", "selftest.mjs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_page_passes_its_self_test_from_its_own_files_alone(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = embedded(stripes, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        golden = open_bundle(stripes).golden.n
        assert seen.text("#status") == f"Self-test passed: {golden} of {golden} golden samples."
        assert seen.said == []
        assert seen.foreign == []
        names = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
        assert set(seen.files) - {""} <= names
        assert seen.page.evaluate("crossOriginIsolated")
        runtime = sum(size for name, size in seen.files.items() if name.startswith("ort/"))
        assert runtime > 1e6
        model = len(open_bundle(stripes).model)
        assert sum(seen.files.values()) - runtime <= model + BESIDE
        first = seen.values()
        with seen.ran():
            seen.page.click("#golden")
        assert seen.values() != first


def test_int8_gives_the_same_bits_in_browser_node_and_python(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:
    app, n = embedded(stripes, tmp_path / "app"), open_bundle(stripes).golden.n
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        seen.page.click("summary")
        assert seen.page.locator("#rows td:nth-child(3)").all_inner_texts() == ["0"] * n
    assert node(stripes, tmp_path / "node").count("largest difference 0,") == n


def test_a_page_on_a_plain_host_has_one_thread_and_says_why(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = embedded(stripes, tmp_path / "app")
    with browser.hosted(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("Self-test passed")
        assert "1 thread: more need the headers" in seen.text("#latency")
        assert seen.said == []


def test_a_page_without_its_runtime_says_what_to_do(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = tmp_path / "app"
    embed(open_bundle(stripes), "web", app)
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("The runtime is not in the folder ort/")
    assert "npm pack onnxruntime-web@" in (app / "README.md").read_text()


def test_a_page_refuses_another_model_and_other_golden_numbers(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:

    app = embedded(stripes, tmp_path / "app")
    golden = app / "golden.bin.deflate"
    samples = bytearray(zlib.decompress(golden.read_bytes()))
    samples[-4:] = np.float32(9).tobytes()
    golden.write_bytes(zlib.compress(bytes(samples)))
    with browser.served(app) as url:
        with browser.visit(chromium, url) as seen:
            assert seen.text("#status").startswith("Self-test failed")
        (app / "model.onnx.deflate").write_bytes(zlib.compress(b"x"))
        with browser.visit(chromium, url) as seen:
            assert "is not the file this module was generated for" in seen.text("#status")


def test_a_page_fetches_large_golden_samples_when_asked(tmp_path: Path, chromium: Browser) -> None:
    sides = value("x", [1, 3000]), value("y", [1, 3000])
    node = helper.make_node("Neg", ["x"], ["y"])
    bundle = apps.built(proto([node], inputs=sides[:1], outputs=sides[1:]), tmp_path)
    n = open_bundle(bundle).golden.n
    app = embedded(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status") == f"Self-test passed: 1 of {n} golden samples."
        assert "golden-rest.bin.deflate" not in seen.files
        seen.page.click("#rest")
        seen.page.wait_for_selector(f"#status:text('{n} of {n}')")
        assert seen.text("#outputs p") == "The largest 10 of 3000 values."
        assert seen.said == []


def test_node_and_browser_have_the_same_module(stripes: Path, tmp_path: Path) -> None:
    bundle = open_bundle(stripes)
    web = embed(bundle, "web", tmp_path / "web")
    for name in ("stripes.mjs", "stripes.d.mts", "golden.mjs"):
        assert name in web
    embed(bundle, "node", tmp_path / "node")
    for name in ("stripes.mjs", "stripes.d.mts", "golden.mjs"):
        assert (tmp_path / "web" / name).read_bytes() == (tmp_path / "node" / name).read_bytes()


NAMES = {
    "class": TensorProto.FLOAT,
    "a b": TensorProto.DOUBLE,
    "größe": TensorProto.INT64,
    "</script><script>alert(1)</script>": TensorProto.INT32,
    '"><img src=x onerror=alert(1)>': TensorProto.UINT8,
    "'; alert(1) //": TensorProto.INT8,
    "`${alert(1)}`": TensorProto.BOOL,
    "constructor": TensorProto.UINT16,
    "__proto__": TensorProto.UINT64,
    "日本": TensorProto.STRING,
}


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle that gives back its ten inputs, and nothing of one, under hostile names."""
    nodes = [helper.make_node("Identity", [name], [f"={name}"]) for name in NAMES]
    nodes.append(helper.make_node("Slice", ["class", "0", "0"], ["empty"]))
    inputs = [value(name, ["n", 2], kind) for name, kind in NAMES.items()]
    outputs = [value(f"={name}", ["n", 2], kind) for name, kind in NAMES.items()]
    outputs.append(value("empty", ["none", 2]))
    model = proto(nodes, {"0": np.zeros(1, np.int64)}, inputs=inputs, outputs=outputs)
    return apps.built(model, tmp_path_factory.mktemp("names"), "<svg onload=alert(1)>{{ 7*7 }} ü")


def test_every_dtype_and_any_name_goes_through_browser_and_node(
    identities: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = embedded(identities, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        assert seen.text("#status").startswith("Self-test passed")
        assert seen.said == seen.foreign == []
        assert seen.page.title() == "<svg onload=alert(1)>{{ 7*7 }} ü"
        legends = seen.page.locator("legend").all_inner_texts()
        assert [text.rsplit(" ", 3)[0] for text in legends] == [*NAMES]
        assert seen.page.locator("img, script:not([src]), header svg").count() == 0
    assert node(identities, tmp_path / "node").endswith("self-test passed\n")


def test_a_page_takes_what_is_typed_and_says_what_it_cannot_take(
    identities: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = embedded(identities, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        fields = dict(zip(NAMES, seen.page.locator("fieldset").all(), strict=True))

        def run(name: str, text: str) -> str:
            fields[name].locator("textarea").fill(text)
            with seen.ran():
                seen.page.click("#run")
            return seen.text("#error")

        assert run("größe", "9007199254740993 -1") == ""
        assert "9007199254740993" in seen.text("#outputs")
        assert run("日本", "ä\n<b>") == ""
        assert "<b>" in seen.text("#outputs")
        assert run("class", "[[1e-3, inf]]") == ""
        assert run("class", "1 two") == "class takes numbers, and two is none."
        assert run("class", "1 2 3") == "class takes a multiple of 2 values, and there are 3."
        assert run("class", "1 2") == ""
        assert run("constructor", "1 70000") == "constructor takes uint16, and 70000 is none."
        assert run("constructor", "1 0.5") == "constructor takes uint16, and 0.5 is none."
        assert run("constructor", "1 2") == ""
        with seen.ran():
            seen.page.locator("label:text('Dimensions') input").first.press("Enter")
        assert seen.said == []
        assert run("`${alert(1)}`", "true 2") == "`${alert(1)}` takes bool, and 2 is none."


def npy(array: npt.NDArray[np.generic], folder: Path) -> Path:
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def png(pixels: npt.NDArray[np.uint8], folder: Path) -> Path:
    Pillow.fromarray(pixels).save(folder / "x.png")
    return folder / "x.png"


def test_a_page_takes_a_numpy_file_a_picture_and_a_drawing(
    stripes: Path, tmp_path: Path, chromium: Browser
) -> None:
    app = embedded(stripes, tmp_path / "app")
    image = np.random.default_rng(1).random((1, 1, 8, 8)).astype(np.float32)
    pixels = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    model = open_bundle(stripes)
    options = replace(shipped_options(model.manifest, 1), exact=True)
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        page = seen.page

        want = Session(model.model, options).run({"image": image})["scores"].ravel()
        with seen.ran():
            page.set_input_files("input[type=file]", npy(image, tmp_path))
        assert [float(text) for text in seen.values()] == pytest.approx(want, rel=1e-3)
        page.fill("input[type=number] >> nth=0", "0")
        page.fill("input[type=number] >> nth=1", "255")
        with seen.ran():
            page.set_input_files("input[type=file]", png(pixels, tmp_path))
        assert page.input_value("textarea").split() == [str(v) for v in pixels.ravel()]
        page.set_input_files("input[type=file]", npy(image.astype(np.float64), tmp_path))
        page.wait_for_function("() => error.textContent")
        assert seen.text("#error") == "the file holds float64, image takes float32."
        box = page.locator(".pen").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 5)
        page.mouse.up()
        drawn = np.array(page.input_value("textarea").split(), float).reshape(8, 8)
        assert drawn[:, 3:5].min() > 20
        assert drawn[:, [0, 1, 6, 7]].max() == 0
        assert seen.said == []


PIECES = 'mask = "mask"\nsplit = "wordpiece"\nbegin = 2\nend = 3\n'


def test_a_page_makes_of_a_picture_what_load_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    declared = raws.IMAGE + raws.IMAGENET + 'resize = "bilinear"\n'
    bundle = raws.built(raws.image(3), declared, tmp_path, monkeypatch).absolute()
    photo = np.random.default_rng(2).integers(0, 256, (11, 16, 3), np.uint8)
    app = embedded(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        with seen.ran():
            seen.page.set_input_files("input[type=file]", png(photo, tmp_path))
        made = np.array(seen.page.input_value("textarea").split(), np.float32)
        assert seen.page.text_content("#rows tr") == "1its inputs, from pixels00"
        assert seen.said == []
    assert made.tobytes() == edgepack.load(bundle).run_raw(photo)["y"].tobytes()


def test_a_page_takes_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    bundle = raws.built(raws.text(mask=True), raws.TEXT + PIECES, tmp_path, monkeypatch).absolute()
    app = embedded(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        seen.page.fill("#text", "The cats!")
        with seen.ran():
            seen.page.press("#text", "Enter")
        found = [float(text) for text in seen.values()]
        assert seen.said == []
    assert found == edgepack.load(bundle).run_raw("The cats!")["y"].ravel().tolist()


def test_a_page_takes_a_file_of_sound_frame_by_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    bundle = raws.built(raws.audio(), raws.AUDIO, tmp_path, monkeypatch).absolute()
    samples = np.random.default_rng(3).integers(-999, 999, 18).astype(np.int16)
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((1, 2, 16000, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    app = embedded(bundle, tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        with seen.ran():
            seen.page.set_input_files("#sound", tmp_path / "x.wav")
        found = [float(text) for text in seen.values()]
        assert seen.said == []
    model = edgepack.load(bundle)
    for at in range(0, 16, 4):
        last = model.run_raw(samples[at : at + 4])["y"].ravel()
    assert found == pytest.approx(last, rel=1e-3)


def test_a_page_carries_state_until_a_new_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    app = embedded(apps.echo(tmp_path, monkeypatch), tmp_path / "app")
    with browser.served(app) as url, browser.visit(chromium, url) as seen:
        seen.page.fill("textarea", "1 2")

        def told() -> str:
            with seen.ran():
                seen.page.click("#run")
            return " ".join(seen.values())

        assert [told(), told()] == ["2 4", "4 8"]
        seen.page.click("#reset")
        assert told() == "2 4"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (None, "is no onnxruntime-web"),
        ({"name": "onnxruntime-node", "version": "1.30.0"}, "is no onnxruntime-web"),
        ({"name": "onnxruntime-web", "version": "1.9.0"}, "holds onnxruntime-web 1.9.0"),
    ],
)
def test_a_runtime_that_is_none_is_refused(
    stripes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    package: dict[str, str] | None,
    words: str,
) -> None:
    given = tmp_path / "given"
    (given / "dist").mkdir(parents=True)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (given / "dist" / name).touch()
    if package:
        (given / "package.json").write_text(json.dumps(package))
    command = ["embed", str(stripes), "--lang", "web", "-o", str(tmp_path / "app")]
    assert main([*command, "--runtime", str(given)]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


def test_a_language_that_carries_no_runtime_refuses_one(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["embed", str(stripes), "--lang", "c", "-o", str(tmp_path / "app")]
    assert main([*command, "--runtime", str(tmp_path)]) == 2
    assert "an app in c carries no runtime" in capsys.readouterr().err
