#!/usr/bin/env python
"""Take the screenshots of README again: the page and the terminal, of the trace that ships with llmperf.

    python scripts/screenshots.py [-o docs/images]

Needs chromium and playwright (`pip install ".[browser]"`).
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
TRACE = ROOT / "nsys_pipeline" / "demo" / "h100_llama_1b_graphs.sqlite.xz"
LIMIT_BYTES = 300_000
_COLUMNS = 100
_TERMINAL = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; background: #11161d; }}
pre {{ display: inline-block; margin: 0; padding: 18px 22px; color: #dfe5ec; line-height: 1.32;
       font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
</style><pre>{code}</pre>"""
# Background, foreground, then black, red, green, yellow, blue, magenta, cyan, white.
_COLOURS = [
    (44, 54, 67), (255, 133, 137), (76, 195, 138), (241, 192, 108), (108, 158, 245), (192, 139, 240), (79, 208, 230),
]  # fmt: skip
_THEME = TerminalTheme((17, 22, 29), (223, 229, 236), [*_COLOURS, (223, 229, 236)], [*_COLOURS, (255, 255, 255)])
_SHOW_DECODE = """() => {
    const stage = document.getElementById('timeline-stage').timeline;
    const { rows, timeline } = stage;
    const { header } = timeline;
    const steps = rows.find(row => row.lane.track === 'phase');
    const decode = [...steps.index].filter(span => header.phases[timeline.phase[span]] === 'decode').at(-3);
    const length = timeline.end[decode] - timeline.start[decode];
    stage.look(timeline.start[decode] - 0.05 * length, timeline.end[decode] + 0.25 * length);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("LLMPERF_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_path, terminal_path = Path(folder) / "report.html", Path(folder) / "terminal.html"
        subprocess.run(
            [sys.executable, "-m", "nsys_pipeline", "analyze", str(TRACE), "-o", str(page_path)], check=True, cwd=ROOT
        )
        terminal_path.write_text(_TERMINAL.format(code=_as_html(_printed())), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            _page(browser, page_path, scheme, output)
        terminal = browser.new_page(viewport={"width": 1000, "height": 800})
        terminal.goto(terminal_path.as_uri())
        terminal.locator("pre").screenshot(path=output / "terminal.png")
        browser.close()
    for path in sorted(output.glob("*.png")):
        print(f"{path.name:28} {path.stat().st_size:>9,} bytes")
        if path.stat().st_size > LIMIT_BYTES:
            sys.exit(f"{path} is too large for a README: more than {LIMIT_BYTES:,} bytes")


def _page(browser: Any, path: Path, scheme: str, output: Path) -> None:
    page = browser.new_page(viewport={"width": 1240, "height": 860}, color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_selector("#timeline-stage[aria-busy=false]")
    page.screenshot(path=output / f"report-{scheme}.png")
    page.evaluate(_SHOW_DECODE)
    page.evaluate("document.querySelector('nav').hidden = true")
    page.wait_for_timeout(200)
    page.locator("#timeline-view").screenshot(path=output / f"timeline-{scheme}.png")
    page.close()


def _printed() -> str:
    """What `llmperf analyze` prints on a terminal, colours and all, less what explains it."""
    leader, follower = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(_COLUMNS)}
    settings.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-m", "nsys_pipeline", "analyze", str(TRACE), "--top", "3"],
        stdout=follower, stderr=subprocess.DEVNULL, env=settings, cwd=ROOT,
    ):  # fmt: skip
        os.close(follower)
        parts = []
        try:
            while part := os.read(leader, 65536):
                parts.append(part)
        except OSError:  # what Linux says where the other end is closed
            pass
    text = b"".join(parts).decode().replace("\r\n", "\n")
    command = f"$ llmperf analyze {TRACE.name}\n"
    return command + text[: text.index("top kernels")].rstrip()


def _as_html(text: str) -> str:
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(text), soft_wrap=True)
    return console.export_html(theme=_THEME, inline_styles=True, code_format="{code}")


if __name__ == "__main__":
    main()
