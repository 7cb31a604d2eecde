"""A real Chromium, driven by Playwright: every page that a test opens fails it for an error, a warning or a request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless. LLMPERF_CHROMIUM names it; LLMPERF_REQUIRE_CHROMIUM makes its absence a failure."""
    absent = pytest.fail if os.environ.get("LLMPERF_REQUIRE_CHROMIUM") else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent('needs playwright: pip install ".[browser]"')
    path = os.environ.get("LLMPERF_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        absent("needs chromium (apt-get install chromium), or LLMPERF_CHROMIUM")
    with sync_playwright() as playwright:
        # In a container Chromium's own sandbox has no namespaces to make.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opener:
    """Opens pages from disk and remembers what they should not have done."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.faults: list[str] = []

    def __call__(self, path: Path, *, script: str | None = None, **context: Any) -> Any:
        """The page at `path`; `script` runs in it before its own."""
        self._contexts.append(self._browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = self._contexts[-1].new_page()
        page.on("console", lambda message: self.faults.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", lambda request: self._check(request.url, path))
        if script:
            page.add_init_script(script)
        page.goto(path.as_uri())
        return page

    def _check(self, url: str, path: Path) -> None:
        if url.partition("#")[0] != path.as_uri() and url != "data:,":
            self.faults.append(f"request: {url[:200]}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opener]:
    """What opens pages; at the end, none of them may have had a fault."""
    opener = Opener(browser)
    yield opener
    opener.close()
    assert opener.faults == []
