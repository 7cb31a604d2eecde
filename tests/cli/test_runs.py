"""`llmperf runs`: what captures left behind, and what is said of runs that left less."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nsys_pipeline.cli.analyze import keep_reports
from nsys_pipeline.cli.demo import DEMO_TRACE
from tests.cli.run import run
from tests.support.real_traces import unpack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: one with reports, one without, one that failed, one whose run.json is damaged; and no run."""
    folder = tmp_path_factory.mktemp("runs")
    for name, record in {
        "good a&b": {"started": "2026-11-23T03:53:12+00:00", "exit_status": 0},
        "unread": {"started": "2026-11-24T03:53:12+00:00", "exit_status": 0},
        "failed": {"started": "2026-11-25T03:53:12+00:00", "error": "nsys left no report"},
    }.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(json.dumps(record))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("[]")
    (folder / "no run").mkdir()
    trace = unpack(DEMO_TRACE, folder / "good a&b").replace(folder / "good a&b" / "trace.sqlite")
    assert [path.name for path in keep_reports(trace)] == ["report.json", "report.html"]
    return folder


def test_each_run_is_a_row_the_newest_first(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")

    code, out, err = run(capsys, "runs", folder)

    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith(("failed", "unread", "good", "damaged", "no run"))]
    assert [row.split()[0] for row in rows] == ["failed", "unread", "good", "damaged"]
    assert "nsys left no report" in rows[0]
    assert "no report: `llmperf analyze` makes one" in rows[1]
    assert "2026-11-23 03:53" in rows[2]
    assert "NVIDIA H100 80GB HBM3" in rows[2]
    assert "1x512, 8x1024" in rows[2]
    assert "prefill kernel-bound MFU 37.5%; decode kernel-bound MBU 23.0%" in rows[2]
    assert "is not what llmperf writes" in rows[3]


def test_json_has_the_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "runs", folder, "--format", "json")

    data = json.loads(out)
    assert data["schema"] == "llmperf.runs/1"
    good = data["runs"][2]
    report = json.loads((folder / "good a&b" / "report.json").read_text())
    assert good["ttft_ns"] == pytest.approx(sum(row["ttft_p50_ns"] for row in report["requests"]) / 2)
    assert good["phases"]["decode"] == [
        next(phase[key] for phase in report["phases"] if phase["name"] == "decode")
        for key in ("bound", "mfu_busy", "mbu_busy")
    ]


def test_the_index_links_to_the_pages_from_wherever_it_lies(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "runs")
    for index, link in (
        (tmp_path / "runs" / "index.html", "./good%20a%26b/"),
        (tmp_path / "i.html", "runs/good%20a%26b/"),
    ):
        assert run(capsys, "runs", tmp_path / "runs", "-o", index)[0] == 0
        assert f'<a href="{link}report.html">good a&amp;b</a>' in index.read_text(encoding="utf-8")
    assert run(capsys, "runs", tmp_path / "runs", "-o", index)[0] == 2  # it exists


def test_a_run_whose_name_is_not_utf8_is_in_the_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        (tmp_path / "runs" / "caf\udce9").mkdir(parents=True)
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    (tmp_path / "runs" / "caf\udce9" / "run.json").write_text("{}")

    assert run(capsys, "runs", tmp_path / "runs", "-o", tmp_path / "i.html")[0] == 0

    assert "caf\\udce9" in (tmp_path / "i.html").read_text(encoding="utf-8")


def test_a_single_run_and_no_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "runs", folder / "good a&b", "--format", "json")
    assert (code, json.loads(out)["runs"][0]["page"]) == (0, "report.html")
    code, out, _ = run(capsys, "runs", tmp_path)
    assert code == 0
    assert "0 runs" in out
    code, _, err = run(capsys, "runs", tmp_path / "nowhere")
    assert code == 2
    assert "is no folder" in err
