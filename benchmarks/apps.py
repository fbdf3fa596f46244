"""Every project of ``edgepack init`` as an app in every language: built, self-tested, weighed.

Run: ``python benchmarks/apps.py BUNDLE ... > benchmarks/results/apps.json``.

A Python app runs without edgepack, a C app natively and on emulated ARM, a page in Chromium over
loopback with an empty cache. ``bytes`` are those of the app's folder, ``fetched`` those that a page
asks for up to its first result, both without the runtime. The page's own clock counts from the
navigation to the first outputs shown.

The bundles of ``results/apps.json`` are the templates' own, for arm64 and ``--prefer size``, from
real data: vision trained on 4,000 images (``FASHION_MNIST_TRAINING``), voice on 20 prompts a voice
(``ASTERISK_PROMPTS``).
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgepack.base.files import sha256
from edgepack.bundle.open import Bundle, open_bundle
from edgepack.embed import embed
from edgepack.runtime.session import version
from tests import browser, c_apps

MODULES = Path(__file__).parents[1] / ".node" / "node_modules"
ALONE = "import sys; sys.modules['edgepack'] = None; import selftest; sys.exit(selftest.main())"


def passed(app: Path, *command: str | Path) -> bool:
    """Run a self-test."""
    done = c_apps.run(*command, folder=app)
    return done.returncode == 0 and done.stdout.endswith("self-test passed\n")


def python(app: Path) -> dict[str, Any]:
    """Test with numpy and onnxruntime alone."""
    return {"passed": passed(app, sys.executable, "-c", ALONE)}


def c(app: Path) -> dict[str, Any]:
    """Test natively and on emulated ARM."""
    c_apps.made(app)
    found = {"passed": passed(app, "./selftest", c_apps.RUNTIME)}
    c_apps.made(app, "-B", "EMBED_MODEL=1", "CC=aarch64-linux-gnu-gcc")
    found["aarch64"] = passed(app, *c_apps.arm64("cortex-a53"), "./selftest")
    with tempfile.TemporaryDirectory() as root:
        c_apps.made(app, "-B", "EMBED_MODEL=1", "CC=arm-linux-gnueabihf-gcc")
        emulated = c_apps.armhf("cortex-a7", Path(root, "root"))
        found["armhf"] = passed(app, *emulated, "./selftest", c_apps.ARMHF)
    return found


def node(app: Path) -> dict[str, Any]:
    """Test over onnxruntime-node."""
    (app / "node_modules").symlink_to(MODULES)
    return {"passed": passed(app, "node", "selftest.mjs")}


def web(app: Path) -> dict[str, Any]:
    """Test in Chromium."""
    with (
        browser.chromium() as found,
        browser.served(app) as url,
        browser.visit(found, url) as seen,
    ):
        told = seen.page.evaluate("({...document.documentElement.dataset})")
        quiet = not seen.said and not seen.foreign
        return {
            "passed": told["selftest"] == "passed" and quiet,
            "first_result_seconds": float(told["first"]) / 1e3,
            "fetched": sum(n for name, n in seen.files.items() if not name.startswith("ort/")),
        }


LANGUAGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "python": python,
    "c": c,
    "node": node,
    "web": web,
}


def weight(app: Path) -> int:
    """Return the bytes of an app before it is built, without a runtime that it carries."""
    files = (path for path in app.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if "ort" not in path.relative_to(app).parts)


def tried(bundle: Bundle, language: str) -> dict[str, Any]:
    """Make an app and test it."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        embed(bundle, language, app, MODULES / "onnxruntime-web" if language == "web" else None)
        size = weight(app)
        return {**LANGUAGES[language](app), "bytes": size}


def main(*paths: str) -> None:
    """Try every bundle in every language, and print."""
    results = {}
    for path in paths:
        bundle = open_bundle(path)
        accuracy = bundle.manifest.accuracy
        results[bundle.manifest.name] = {
            "target": bundle.manifest.target["name"],
            "sha256": sha256(bundle.model),
            "model_bytes": len(bundle.model),
            "accuracy": accuracy and {"metric": accuracy.metric, "shipped": accuracy.shipped},
            "apps": {language: tried(bundle, language) for language in LANGUAGES},
        }
    every = [app for result in results.values() for app in result["apps"].values()]
    told = {
        "onnxruntime": version(),
        "load_average": os.getloadavg(),
        "passed": f"{sum(app['passed'] for app in every)} of {len(every)}",
        "bundles": results,
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
