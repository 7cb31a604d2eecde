"""The page's JavaScript without a page: node runs tests/js, and unpacks what Python packed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nsys_pipeline.detail import read_timeline
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES
from tests.unit.detail.test_timeline import unpacked

ROOT = Path(__file__).resolve().parents[3]
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node, which the pages themselves do not")
def test_javascript(tmp_path: Path) -> None:
    with open_trace(TRACES / f"h100_gpu_metrics{SUFFIX}", TraceOptions(use_cache=False)) as trace:
        timeline = read_timeline(trace)
    assert timeline is not None
    (tmp_path / "timeline.gz").write_bytes(timeline.data)

    done = subprocess.run(
        [str(NODE), "--test", str(ROOT / "tests" / "js")], check=False, capture_output=True, text=True,
        env={**os.environ, "TIMELINE": str(tmp_path / "timeline.gz")},
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    header, spans = unpacked(timeline)
    lanes = {id(lane): index for index, lane in enumerate(header["lanes"])}
    assert json.loads((tmp_path / "decoded.json").read_text()) == [
        [
            lanes[id(span["lane"])], span["lane"]["track"], span["start"], span["end"], span["name"], span["category"],
            span["phase"], span["count"], None if span["call"] < 0 else spans[span["call"]]["start"],
        ]
        for span in spans
    ]  # fmt: skip
