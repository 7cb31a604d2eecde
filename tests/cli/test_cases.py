"""Small traces that were once read wrongly, each with the right answer. Their traces are in tests/cases."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

import nsys_pipeline
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder

CASES = Path(__file__).parent.parent / "cases"


def report_of(name: str, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    path = CASES / f"{name}.sqlite.xz"
    code, out, err = run(capsys, "analyze", path, "--format", "json", "--no-cache", *options)
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    return report


def phases(report: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Phase → occurrences, kernels, their time in ns."""
    return {p["name"]: (p["occurrences"], p["kernel_count"], p["kernel_time_ns"]) for p in report["phases"]}


def findings(report: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["code"] == code]


def test_a_loop_around_steps_is_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("loop_around_steps", capsys)

    assert phases(report) == {"prefill": (1, 6, 90_000), "decode": (5, 20, 160_000)}
    assert not findings(report, "cold_first_occurrence")


def test_a_range_that_is_no_phase_can_be_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("loop_around_steps", capsys, "--not-phase", "^DECODE_STEP_")

    assert phases(report) == {"prefill": (1, 6, 90_000), "decode": (1, 20, 160_000)}


def test_work_of_a_data_loader_is_in_no_phase_and_work_of_autograd_in_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = report_of("worker_thread_with_ranges", capsys)

    assert phases(report) == {"forward": (3, 15, 180_000), "backward": (3, 24, 600_000), "optimizer": (3, 12, 108_000)}
    assert report["phases"][2]["gpu_busy_ns"] == 108_000
    assert report["unattributed"]["reasons"] == {"no_phase": {"count": 27, "time_ns": 675_000}}
    (lent,) = findings(report, "other_thread")
    assert lent["message"].startswith("24 operations of backward were launched by threads that were in no range")
    (own,) = findings(report, "own_ranges")
    assert (own["phase"], own["at_stake_ns"]) == ("optimizer", 675_000)
    assert "27 operations were launched by thread 222" in own["message"]
    assert "[DALI][Executor] Run" in own["message"]


def test_a_warmup_without_phases_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("warmup_without_phases", capsys)

    assert phases(report) == {"prefill": (2, 6, 126_000), "warmup": (1, 11, 330_000)}
    (warmup,) = [phase for phase in report["phases"] if phase["name"] == "warmup"]
    assert (warmup["warmup_occurrences"], warmup["gpu_busy_ns"]) == (1, 330_000)
    assert report["unattributed"]["kernel_count"] == 0


def test_warmup_that_is_a_phase_is_told_in_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "analyze", CASES / "warmup_without_phases.sqlite.xz", "--no-cache")

    assert (code, err) == (0, "")
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] in (["warm-up"], ["warmup"])]
    assert row == ["warm-up", "1", "1.000", "0.330", "11"]


@pytest.mark.parametrize("form", ["table", "json", "markdown", "html"])
def test_texts_that_differ_in_numbers_are_one_line(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "ranges"
    path = CASES / "many_range_texts.sqlite.xz"
    began = time.process_time()

    answer = run(capsys, "analyze", path, "--list-ranges", "--no-cache", "--format", form, "-o", target)

    assert answer == (0, "", "")
    # It took minutes when the work was quadratic in the number of texts.
    assert time.process_time() - began < 10
    text = target.read_text()
    assert "aten::add, seq = N, op_id = N" in text.replace("\\", "")
    if form == "json":
        listed = json.loads(text)
        assert listed["schema"] == "llmperf.ranges/1"
        assert [(row["count"], row["texts"], row["role"]) for row in listed["ranges"]] == [(8000, 8000, None)]
    else:
        assert "8,000" in text


def test_the_list_of_ranges_says_which_are_loops(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "analyze", CASES / "loop_around_steps.sqlite.xz", "--list-ranges", "--no-cache")

    assert code == 0
    lines = {line.split()[-1]: line for line in out.splitlines() if line}
    assert "phase decode, 0 of 1" in lines["DECODE_LOOP"]
    assert "phase decode  " in lines["DECODE_STEP_N"]


def test_a_name_asks_for_the_format_of_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "ranges.json"

    assert run(capsys, "analyze", CASES / "loop_around_steps.sqlite.xz", "--list-ranges", "-o", target) == (0, "", "")
    assert [row["name"] for row in json.loads(target.read_text())["ranges"]] == [
        "DECODE_LOOP", "DECODE_STEP_N", "PREFILL",
    ]  # fmt: skip


def test_ranges_in_one_process_and_work_in_another_are_both_named(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = findings(report_of("engine_process", capsys), "ranges_in_another_process")

    assert found["message"].startswith(
        "all GPU work (20 operations) was launched by process 300 (python), which has no"
    )
    assert "the phases are in process 100 (python)" in found["message"]
    assert "--trace-forks" in found["hint"]


def test_generation_tokens_that_a_text_does_not_say_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT phase, new_tokens FROM phases ORDER BY start_ns"
    path = CASES / "trtllm_tokens.sqlite.xz"
    code, out, err = run(capsys, "sql", "--no-cache", path, query, "--format", "json")

    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"phase": "mixed", "new_tokens": None},
        {"phase": "decode", "new_tokens": None},
        {"phase": "decode", "new_tokens": None},
    ]


def test_every_way_out_heeds_what_is_no_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = CASES / "loop_around_steps.sqlite.xz"
    query = "SELECT count(*) AS n FROM phases WHERE phase = 'decode'"

    code, out, err = run(capsys, "sql", "--no-cache", path, query, "--not-phase", "_STEP_", "--format", "csv")
    assert (code, out, err) == (0, "n\n1\n", "")

    target = tmp_path / "out.duckdb"
    code, _, err = run(capsys, "export", path, "--to", "duckdb", "-o", target, "--not-phase", "_STEP_")
    assert (code, err) == (0, "")
    with duckdb.connect(target, read_only=True) as con:
        assert con.execute(query).fetchall() == [(1,)]

    with nsys_pipeline.open(path, not_phases="_STEP_", cache=False) as trace:
        assert trace.sql(query)["n"].to_list() == [1]


def test_an_expression_that_matches_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = findings(report_of("loop_around_steps", capsys, "--not-phase", "^nothing$"), "rule_without_ranges")

    assert "`--not-phase ^nothing$` matches no range" in found["message"]


def test_a_malformed_expression_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "analyze", CASES / "loop_around_steps.sqlite.xz", "--not-phase", "(", "--no-cache")

    assert (code, out) == (2, "")
    assert "error: `(` is no regular expression" in err


def test_warm_up_by_start_and_end_ranges_is_warm_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 100_000, "warmup").start_end(50_000, 200_000, "CUDA graph warmup")
    for at in (10_000, 60_000, 150_000, 300_000):
        main.push(at, at + 9_000, "prefill").launch(at + 100, gpu=(at + 1_000, at + 3_000))
    main.start_end(400_000, 500_000, "warmup").launch(410_000, gpu=(420_000, 430_000))
    path = trace.write(tmp_path / "trace.sqlite")

    code, out, _ = run(capsys, "analyze", path, "--format", "json", "--no-cache")

    assert code == 0
    found = {one["name"]: (one["occurrences"], one["warmup_occurrences"]) for one in json.loads(out)["phases"]}
    assert found == {"prefill": (4, 3), "warmup": (1, 1)}
    assert json.loads(out)["unattributed"]["kernel_count"] == 0
