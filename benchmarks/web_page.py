"""Time to the first result of a generated page in Chromium, and the bytes it fetches.

Run: ``python benchmarks/web_page.py BUNDLE .node/node_modules/onnxruntime-web [TURNS]``.

Every turn is a fresh browser with an empty cache, over loopback. The page's own clock counts, from
the navigation to the first outputs shown; the self-test runs before them. Turns with the headers
that allow threads and turns without them alternate.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgepack.base.files import sha256
from edgepack.bundle.open import Bundle, open_bundle
from edgepack.embed import embed
from tests import browser

TURNS = 11
HOSTS = {"isolated": browser.served, "plain": browser.hosted}


def turn(app: Path, host: str) -> dict[str, float | str]:
    """Open the page once; times in seconds."""
    with browser.chromium() as found, HOSTS[host](app) as url, browser.visit(found, url) as seen:
        told = seen.page.evaluate("({...document.documentElement.dataset})")
        threads = int(seen.text("#latency").split(" on ")[1].split()[0])
        return {
            "selftest": told["selftest"],
            "first_result": float(told["first"]) / 1e3,
            "latency": float(told["median"]) / 1e3,
            "threads": threads,
            "errors": len(seen.said) + len(seen.foreign),
        }


def transfer(app: Path, bundle: Bundle) -> dict[str, int]:
    """Return the bytes of the bodies that one visit fetches."""
    with browser.chromium() as found, browser.served(app) as url, browser.visit(found, url) as seen:
        runtime = sum(size for name, size in seen.files.items() if name.startswith("ort/"))
        beside = sum(seen.files.values()) - runtime
    model = len(bundle.model)
    return {
        "requests": len(seen.files),
        "runtime": runtime,
        "without_runtime": beside,
        "model": model,
        "over_model": beside - model,
    }


def main(path: str, runtime: str, turns: int = TURNS) -> None:
    """Measure and print."""
    bundle = open_bundle(path)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        embed(bundle, "web", app, Path(runtime))
        fetched = transfer(app, bundle)
        rounds = [{host: turn(app, host) for host in HOSTS} for _ in range(turns)]
    firsts = {host: [float(each[host]["first_result"]) for each in rounds] for host in HOSTS}
    result = {
        "bundle": bundle.manifest.name,
        "sha256": sha256(bundle.model),
        "load_average": [before, os.getloadavg()],
        "bytes": fetched,
        "first_result_seconds": {
            host: {"median": statistics.median(values), "worst": max(values), "n": len(values)}
            for host, values in firsts.items()
        },
        "turns": rounds,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
