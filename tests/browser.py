"""Debian's Chromium, headless, on a page of a generated app; counts what the page asks for."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium")
_FLAGS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync
"""


@dataclass
class Visit:
    """A page that has started, and what happened on the way.

    Attributes:
        page: Ready or failed.
        files: Path in the app -> bytes of its body, for each file that was asked for.
        foreign: Addresses that are not the app's own.
        said: Errors and warnings on the console, and uncaught exceptions.
    """

    page: Page
    files: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def values(self) -> list[str]:
        """Return what is shown of the outputs."""
        return self.page.locator("#outputs .values span:nth-child(2)").all_inner_texts()

    @contextmanager
    def ran(self) -> Iterator[None]:
        """Wait until the model has run once more, or has refused."""
        before = self.page.get_attribute("html", "data-runs")
        yield
        over = "old => document.documentElement.dataset.runs !== old"
        self.page.wait_for_function(over, arg=before, timeout=10_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=_FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(app: Path) -> Iterator[str]:
    """Run the app's own server."""
    command = [sys.executable, str(app / "serve.py"), "0"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


class _Plain(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map}
    extensions_map |= {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def hosted(app: Path) -> Iterator[str]:
    """Serve the app as any static host would, without the headers that isolate it."""
    handler = functools.partial(_Plain, directory=app)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Open the page with an empty cache and wait until it is ready or has failed."""
    with browser.new_context() as context, context.new_page() as page:
        seen = Visit(page)

        def record(request: Request) -> None:
            if request.url.startswith(f"{url}/"):
                name = request.url.removeprefix(f"{url}/")
                seen.files[name] = max(request.sizes()["responseBodySize"], seen.files.get(name, 0))
            else:
                seen.foreign.append(request.url)

        page.on("requestfinished", record)
        page.on("requestfailed", record)
        page.on("console", lambda m: seen.said.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: seen.said.append(str(error)))
        page.goto(f"{url}/")
        page.wait_for_selector("html[data-state]", timeout=20_000)
        yield seen
