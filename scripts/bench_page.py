#!/usr/bin/env python
"""Measure the page's timeline on synthetic work: bytes, time until it can be used, frames while it moves.

    python scripts/bench_page.py                     a million kernels and the million calls that launch them
    python scripts/bench_page.py --kernels 100000

Needs playwright and a chromium. Headless Chromium without a GPU paints on the CPU, so that a screen does no worse.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.detail.timeline import pack  # noqa: E402
from nsys_pipeline.records import Timeline  # noqa: E402
from nsys_pipeline.report import html  # noqa: E402
from nsys_pipeline.report.document import Depth, Document, Section, TimelineFigure  # noqa: E402

FAMILIES = ("gemm", "attention", "norm", "elementwise", "copy", "reduction")
_FRAMES = """
async ({ seconds, step }) => {
    const stage = document.getElementById('timeline-stage').timeline;
    const { duration } = stage;
    const width = duration * step.share;
    const times = [], draws = [];
    const end = performance.now() + seconds * 1000;
    let t = 0, last = 0;
    await new Promise(done => {
        const frame = now => {
            if (last) times.push(now - last);
            last = now;
            t += step.speed;
            const wide = step.zoom ? width * (1 + 0.9 * Math.sin(t * step.zoom)) : width;
            const t0 = (0.5 + 0.5 * Math.sin(t)) * (duration - wide);
            draws.push(stage.drawMs);
            stage.look(t0, t0 + wide);
            now < end ? requestAnimationFrame(frame) : done();
        };
        requestAnimationFrame(frame);
    });
    return { times, draws };
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4, help="of each movement")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    options = parser.parse_args()
    timeline = synthetic(options.kernels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        stream = io.StringIO()
        section = Section("timeline", (TimelineFigure(timeline),), depth=Depth.page)
        html.render_document(Document("synthetic", (), (section,)), stream)
        path.write_text(stream.getvalue(), encoding="utf-8")
        found = {"spans": timeline.span_count, "page_bytes": path.stat().st_size, **measure(path, options.seconds)}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:24} {value:,}" if isinstance(value, int) else f"{name:24} {value:,.1f}")


def synthetic(kernels: int) -> Timeline:
    """`kernels` on two streams, each with the call that launches it, in steps of 1,000, as a decode loop makes them."""
    import polars as pl

    chance = random.Random(7)
    host = device = 0
    calls, works = [], []
    for number in range(kernels):
        family = FAMILIES[chance.randrange(len(FAMILIES))]
        call = 2_000 + int(chance.expovariate(1 / 1_500))
        length = 1_000 + int(chance.expovariate(1 / 3_000))
        calls.append((host, host + call, "cudaLaunchKernel", "launch"))
        device = max(device, host + call + 1_000)
        works.append((device, device + length, f"{family}_kernel_{number % 40}", family))
        device += length
        host += call + 500 + (2_000_000 if number % 1_000 == 999 else 0)
    rows: list[tuple[str, int | None, int, int | None, tuple[int, int, str, str]]] = [
        ("api", None, index, None, call) for index, call in enumerate(calls)
    ]
    rows += [("gpu", 7, kernels + index, index, work) for index, work in enumerate(works)]
    lane = {"process_id": 1, "thread_id": None, "domain": None, "depth": 0}
    frame = pl.DataFrame(
        {
            "lane": [
                {"track": track, **lane, "thread_id": 1 if track == "api" else None,
                 "device_id": None if track == "api" else 0, "stream_id": stream}
                for track, stream, *_ in rows
            ],
            "start_ns": [row[4][0] for row in rows],
            "end_ns": [row[4][1] for row in rows],
            "name": [row[4][2] for row in rows],
            "category": [row[4][3] for row in rows],
            "phase": ["decode"] * len(rows),
            "id": [row[2] for row in rows],
            "api_id": [row[3] for row in rows],
            "span_count": [1] * len(rows),
        },
        schema_overrides={"api_id": pl.Int64},
    )  # fmt: skip
    return pack(frame, {"threads": {}, "devices": {}}, resolution_ns=None)


def measure(path: Path, seconds: float) -> dict[str, float]:
    """Milliseconds until the timeline can be used, and frames a second of three movements."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("LLMPERF_CHROMIUM") or shutil.which("chromium")
    found: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        before = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector("#timeline-stage[aria-busy=false]")
        found["usable_ms"] = (time.perf_counter() - before) * 1000
        steps = {
            "pan_everything": {"share": 0.9, "speed": 0.02, "zoom": 0},
            "pan_a_tenth": {"share": 0.1, "speed": 0.01, "zoom": 0},
            "pan_close": {"share": 0.0005, "speed": 0.0001, "zoom": 0},
            "zoom": {"share": 0.05, "speed": 0.01, "zoom": 5},
        }
        for name, step in steps.items():
            frames = page.evaluate(_FRAMES, {"seconds": seconds, "step": step})
            found[f"{name}_fps"] = 1000 / statistics.mean(frames["times"])
            found[f"{name}_draw_ms"] = statistics.median(frames["draws"])
            found[f"{name}_draw_p99_ms"] = sorted(frames["draws"])[int(len(frames["draws"]) * 0.99)]
        browser.close()
    return found


if __name__ == "__main__":
    main()
