"""The run without a profiler: its times beside those of the traced run, in run.json and in the report."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.capture.baseline import add_seconds, compared, run_alone
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.errors import UsageError
from nsys_pipeline.records import BaselineRow
from nsys_pipeline.report.baseline import baseline_section
from nsys_pipeline.report.document import Table
from nsys_pipeline.report.json import render_json
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.e2e.conftest import TINY_LLAMA
from tests.support.trace_builder import TraceBuilder

PROGRAM = """
import json, sys
shape = {"shape": "1x8+2", "ttft_s": {"mean": 0.01}, "tpot_s": {"mean": 0.002}, "total_s": {"mean": 0.014}}
json.dump({"shapes": [shape]}, open(sys.argv[1], "w"))
"""


def times(ttft: float | None, tpot: float | None) -> dict[str, Any]:
    named = {"ttft_s": ttft, "tpot_s": tpot, "total_s": 0.1}
    return {"shapes": [{"shape": "1x8+2"} | {name: value and {"mean": value} for name, value in named.items()}]}


def run_dir(folder: Path) -> Path:
    """What a capture leaves: a trace, run.json, and what the traced run measured."""
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "decode").launch(40, gpu=(60, 80), until=50)
    trace.write(folder / "trace.sqlite")
    (folder / "run.json").write_text('{"schema": "llmperf.run/1"}')
    (folder / "workload.json").write_text(json.dumps(times(0.02, 0.003)))
    return folder


def test_the_same_command_runs_once_more(tmp_path: Path) -> None:
    path = run_dir(tmp_path)
    plan = CapturePlan(command=(sys.executable, "-c", PROGRAM, "{run_dir}/workload.json"))

    run_alone(plan, path, "workload.json")
    assert json.loads((path / "run.json").read_text()) == {
        "schema": "llmperf.run/1",
        "baseline": [
            {"phase": "prefill", "shape": "1x8+2", "traced_s": 0.02, "untraced_s": 0.01},
            {"phase": "decode", "shape": "1x8+2", "traced_s": 0.003, "untraced_s": 0.002},
            {"phase": "request", "shape": "1x8+2", "traced_s": 0.1, "untraced_s": 0.014},
        ],
    }
    # what the traced run measured stays
    assert json.loads((path / "workload.json").read_text()) == times(0.02, 0.003)

    with open_trace(path / "trace.sqlite", TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
    assert report.baseline[1] == BaselineRow("decode", "1x8+2", 3_000_000, 2_000_000, 0.5)
    stream = io.StringIO()
    render_json(report, stream)
    assert json.loads(stream.getvalue())["baseline"][0]["slower_ratio"] == 1.0
    section = baseline_section(report)
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [(row[0], row[-1]) for row in table.rows[:2]] == [("prefill", "100.0"), ("decode", "50.0")]


_RECORDER = f"""#!{sys.executable}
import json, os, sys
trace = os.environ.get("LLMPERF_TORCH_TRACE")
with open("seen", "a") as seen:
    seen.write(f"{{os.environ.get('LLMPERF_MARKERS')}}\\n")
if trace:
    with open(trace, "a") as out:
        out.write("recorded")
with open(sys.argv[sys.argv.index("--result") + 1], "w") as out:
    json.dump({{"shapes": []}}, out)
"""


def test_without_a_profiler_is_without_torch_profiler_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a built-in workload that records itself if it is told to
    program = tmp_path / "python3"
    program.write_text(_RECORDER)
    program.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA))
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr("nsys_pipeline.cli.capture._need_workload_packages", lambda: None)
    monkeypatch.chdir(tmp_path)

    options = ("--backend", "torch", "--model", "config.json", "--baseline", "--no-analyze", "-o", "run")
    code, _, err = run(capsys, "capture", *options)

    assert code == 0, err
    assert (tmp_path / "seen").read_text() == "profiler\nNone\n"
    assert (tmp_path / "run" / "trace.json.gz").read_text() == "recorded"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["baseline"] == []


def test_a_workload_that_fails_alone_leaves_the_trace_as_it_is(tmp_path: Path) -> None:
    path = run_dir(tmp_path)
    plan = CapturePlan(command=(sys.executable, "-c", "raise SystemExit(3)", "{run_dir}/workload.json"))
    with pytest.raises(UsageError, match="ended with 3"):
        run_alone(plan, path, "workload.json")
    slow = CapturePlan(command=(sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.5)
    with pytest.raises(UsageError, match=r"longer than 0\.5 s"):
        run_alone(slow, path, "workload.json")
    assert json.loads((path / "run.json").read_text()) == {"schema": "llmperf.run/1"}


def test_shapes_and_phases_that_one_run_did_not_time_are_left_out() -> None:
    assert [row["phase"] for row in compared(times(0.02, None), times(0.01, 0.002))] == ["prefill", "request"]
    assert compared(times(0.02, 0.003), {"shapes": []}) == []


def test_the_time_of_a_command_stands_beside_what_was_recorded(tmp_path: Path) -> None:
    path = run_dir(tmp_path)
    add_seconds(path, 80e-9)
    with open_trace(path / "trace.sqlite", TraceOptions(use_cache=False)) as trace:
        assert analyze(trace).baseline == [BaselineRow(None, None, 100, 80, 0.25)]


def test_a_damaged_record_says_nothing(tmp_path: Path) -> None:
    path = run_dir(tmp_path)
    with open_trace(path / "trace.sqlite", TraceOptions(use_cache=False)) as trace:
        for content in ("", "[]", '{"baseline": 3}', '{"baseline": [{"phase": null}]}', "\x00"):
            (path / "run.json").write_text(content)
            assert analyze(trace).baseline == [], content
