"""Generated pages, opened by Chromium."""

import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from edgepack.bundle.open import open_bundle
from edgepack.embed import embed
from tests import apps, browser

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


def node_passes(bundle: Path, folder: Path) -> bool:
    embed(open_bundle(bundle), "node", folder)
    (folder / "node_modules").symlink_to(MODULES)
    command = ["node", "selftest.mjs"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


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
        first = seen.text("#outputs")
        seen.page.click("#golden")
        seen.page.wait_for_function("old => outputs.innerText !== old", arg=first)


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


def test_node_and_browser_have_the_same_module(stripes: Path, tmp_path: Path) -> None:
    bundle = open_bundle(stripes)
    web = embed(bundle, "web", tmp_path / "web")
    for name in ("stripes.mjs", "stripes.d.mts", "golden.mjs"):
        assert name in web
    embed(bundle, "node", tmp_path / "node")
    for name in ("stripes.mjs", "stripes.d.mts", "golden.mjs"):
        assert (tmp_path / "web" / name).read_bytes() == (tmp_path / "node" / name).read_bytes()
