"""The projects of ``edgepack init`` as apps: built, self-tested, given what a user has."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.bundle.open import open_bundle
from edgepack.embed import embed
from tests import apps, browser, c_apps

MODULES = Path(__file__).parents[2] / ".node" / "node_modules"  # scripts/setup puts them there
EVERY = pytest.mark.parametrize("name", ["digits", "text", "voice"])
pytestmark = pytest.mark.slow


@pytest.fixture
def app(name: str, template_bundle: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes the app of a project in a language."""
    bundle = open_bundle(template_bundle(name))

    def make(language: str, runtime: Path | None = None) -> Path:
        embed(bundle, language, tmp_path / language, runtime)
        return tmp_path / language

    return make


def passes(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "raw input 0: the same bits" in done.stdout
    assert done.stdout.endswith("self-test passed\n")


@EVERY
def test_in_python(app: Callable[..., Path]) -> None:
    passes(app("python"), sys.executable, "selftest.py")


@EVERY
def test_in_c(app: Callable[..., Path]) -> None:
    made = c_apps.made(app("c"), "EMBED_MODEL=1", flags=c_apps.SANITIZED)
    passes(made, "./selftest", str(c_apps.RUNTIME))


@EVERY
def test_in_c_on_emulated_arm64(app: Callable[..., Path]) -> None:
    command = c_apps.arm64("cortex-a53")
    made = c_apps.made(app("c"), "EMBED_MODEL=1", "CC=aarch64-linux-gnu-gcc")
    passes(made, *command, "./selftest")


@EVERY
def test_in_c_on_emulated_armhf(app: Callable[..., Path], tmp_path: Path) -> None:
    command = c_apps.armhf("cortex-a7", tmp_path / "root")
    made = c_apps.made(app("c"), "EMBED_MODEL=1", "CC=arm-linux-gnueabihf-gcc")
    passes(made, *command, "./selftest", str(c_apps.ARMHF))


@pytest.mark.parametrize("name", ["digits"])
def test_in_node(app: Callable[..., Path]) -> None:
    apps.need((MODULES / "onnxruntime-node").is_dir(), "no onnxruntime-node: scripts/setup")
    made = app("node")
    (made / "node_modules").symlink_to(MODULES)
    passes(made, "node", "selftest.mjs")


@pytest.mark.parametrize("name", ["digits"])
def test_in_a_browser(app: Callable[..., Path]) -> None:
    runtime = MODULES / "onnxruntime-web"
    apps.need(browser.CHROMIUM and runtime.is_dir(), "no chromium or onnxruntime-web")
    with (
        browser.chromium() as found,
        browser.served(app("web", runtime)) as url,
        browser.visit(found, url) as seen,
    ):
        assert seen.text("#status").startswith("Self-test passed")
        assert (seen.said, seen.foreign) == ([], [])
