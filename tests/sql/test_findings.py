"""Each finding of ``sql/findings`` on a trace that fits on the screen: where it holds, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nsys_pipeline.analysis import AnalysisOptions, analyze
from nsys_pipeline.query.session import Session
from nsys_pipeline.records import Finding
from nsys_pipeline.sqlmods import Module, ModuleError, all_modules, parse, template_sql
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, open_session
from tests.support.trace_builder import TraceBuilder

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "findings.md"
TESTED: set[str] = set()


def about(*codes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says which findings a test is about."""

    def register(test: Callable[..., None]) -> Callable[..., None]:
        TESTED.update(codes)
        return test

    return register


def findings(trace: TraceBuilder, folder: Path, options: AnalysisOptions | None = None) -> dict[str, list[Finding]]:
    """Findings by code, as the report has them."""
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        found = analyze(opened, options).findings
    return {code: [one for one in found if one.code == code] for code in (one.code for one in found)}


# -- the mechanism ---------------------------------------------------------------------------------------------------


def test_every_finding_has_a_test_and_a_paragraph() -> None:
    codes = {module.relation for module in all_modules().values() if module.is_finding}
    documented = {line[4:].strip("`") for line in DOCUMENT.read_text().splitlines() if line.startswith("### ")}

    assert codes - TESTED == set()
    assert codes - documented == set()


def test_wrong_numbers_come_first_and_then_what_costs_most(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 100, "decode").launch(10, gpu=(20, 30)).push(500, None, "forward")

    with open_session(trace, tmp_path) as session:
        rows = session.frame("SELECT severity, at_stake_ns FROM findings").rows()

    assert rows == sorted(rows, key=lambda row: (["error", "warning", "info"].index(row[0]), -(row[1] or 0)))
    assert rows


def test_the_rows_of_a_finding_can_be_asked_for(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, None, "decode").launch(10, gpu=(20, 30))

    assert ask(trace, "SELECT range_count FROM findings.unclosed_ranges", tmp_path) == "range_count\n1"


def finding(message: str, hint: str | None = None) -> Module:
    header = f"-- A row.\n-- Grain: one.\n-- severity: info\n-- message: {message}\n"
    header += f"-- hint: {hint}\n" if hint else ""
    columns = "-- columns:\n--   n BIGINT A number.\n--   t BIGINT Time.\n--   r DOUBLE Ratio.\n--   s VARCHAR Text.\n"
    return parse("findings.one", f"{header}{columns}SELECT 1")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("it's {n:,} of {n}", "it's 1,234 of 1234"),
        ("took {t:ms}", "took 1,500.2 ms"),
        ("{r:%} of {s}", "12 % of a {b}"),
        ("{s}", "a {b}"),
        ("plain: {n:,}", "plain: 1,234"),
    ],
)
def test_a_template_is_filled_in_with_columns(template: str, said: str, tmp_path: Path) -> None:
    with open_session(TraceBuilder().gpu(), tmp_path) as session:
        expression = template_sql(finding(template), template)
        values = "SELECT 1234 AS n, 1500200000 AS t, 0.123 AS r, 'a {b}' AS s"
        assert session.database.execute(f"SELECT {expression} FROM ({values})").fetchall() == [(said,)]
        values = "SELECT NULL::BIGINT AS n, NULL::BIGINT AS t, NULL::DOUBLE AS r, NULL::VARCHAR AS s"
        ((text,),) = session.database.execute(f"SELECT {expression} FROM ({values})").fetchall()
        assert text is None if template == "{s}" else "unknown" in text


@pytest.mark.parametrize("template", ["{nobody} is", "{n:.3f} is"])
def test_a_template_without_such_a_column_or_format_is_a_bug(template: str) -> None:
    with pytest.raises(ModuleError, match="names no column"):
        template_sql(finding(template), template)


def test_a_finding_without_a_severity_is_a_bug() -> None:
    with pytest.raises(ModuleError, match="severity"):
        parse("findings.one", "-- A row.\n-- Grain: one.\n-- message: m\nSELECT 1")


def test_python_and_sql_have_the_findings_of_the_report(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, None, "decode").launch(10, gpu=(20, 30))
    path = trace.write(tmp_path / "trace.sqlite")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)
    with Session.of(open_trace(path, TraceOptions(use_cache=False)), close_off=False) as session:
        rows = session.frame("FROM findings").rows(named=True)

    in_sql = [Finding(**row) for row in rows]
    assert [one for one in report.findings if one.code == "unclosed_ranges"] == [
        one for one in in_sql if one.code == "unclosed_ranges"
    ]


# -- one by one ------------------------------------------------------------------------------------------------------


@about("unclosed_ranges")
def test_ranges_that_were_never_closed_are_counted(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, None, "decode").launch(10, gpu=(20, 30)).push(50, 80, "forward")

    (one,) = findings(trace, tmp_path)["unclosed_ranges"]

    assert one.severity == "warning"
    assert one.message.startswith("the end of 1 ranges was not recorded")
    assert one.at_stake_ns == 80


@about("untimed_work")
def test_operations_without_times_are_counted(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30)).launch(20, gpu=(0, 0)).memcpy(
        30, gpu=(0, 0)
    )

    (one,) = findings(trace, tmp_path)["untimed_work"]

    assert one.message.startswith("2 GPU operations were recorded without their times")


@about("cold_first_occurrence")
def test_a_slow_first_occurrence_looks_like_warmup(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for index, wall in enumerate((9_000_000, 1_000_000, 1_000_000, 1_000_000)):
        at = index * 10_000_000
        main.push(at, at + wall, "decode").launch(at + 10, gpu=(at + 20, at + 100_020))

    (one,) = findings(trace, tmp_path)["cold_first_occurrence"]

    assert (one.phase, one.at_stake_ns) == ("decode", 8_000_000)
    assert one.message == (
        "the first decode took 9.0 ms on the host and 0.1 ms of GPU time, the median of those after it 1.0 ms and "
        "0.1 ms: it looks like warm-up"
    )


# -- jobs of several ranks -------------------------------------------------------------------------------------------


@about("late_rank", "ranks_missing")
def test_the_rank_that_the_others_wait_for(tmp_path: Path) -> None:
    # given rank 1 of a world of four, which comes 2 ms late to each of three all-reduces
    trace = TraceBuilder()
    for rank in range(3):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":4}}', domain="llmperf")
        main.push(1, 40_000_000, "forward")
        for number in range(3):
            end = 10_000_000 * (number + 1)
            start = end - (1_000 if rank == 1 else 2_001_000)
            main.launch(start - 10, gpu=(start, end), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", device=rank)

    found = findings(trace, tmp_path)

    (late,) = found["late_rank"]
    assert (late.phase, late.at_stake_ns) == ("forward", 3 * 2 * 2_000_000)
    assert late.message.startswith("in forward the other ranks wait 12.0 ms for rank 1, which comes last to 3 of 3")
    (missing,) = found["ranks_missing"]
    assert missing.message == "the job has 4 ranks, and the trace has 3 of them: rank 3 missing"


@about("late_rank")
def test_ranks_that_take_turns_are_no_finding(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for rank in range(2):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread()
        main.push(1, 90_000_000, "forward")
        for number in range(8):
            end = 10_000_000 * (number + 1)
            start = end - (1_000 if number % 2 == rank else 2_001_000)
            main.launch(start - 10, gpu=(start, end), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", device=rank)

    assert "late_rank" not in findings(trace, tmp_path)


@about("trace_left_out")
def test_a_rank_whose_trace_is_cut_is_named(tmp_path: Path) -> None:
    small = TraceBuilder().gpu()
    small.process().thread().push(0, 90, "decode").launch(10, gpu=(20, 30))
    small.write(tmp_path / "trace-rank0.sqlite")
    (tmp_path / "trace-rank1.sqlite").write_bytes(b"SQLite format 3\x00 and no more")

    with open_trace(tmp_path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)

    (left_out,) = [one for one in report.findings if one.code == "trace_left_out"]
    assert left_out.severity == "error"
    assert left_out.message.startswith("the trace of rank 1 is left out: ")
    assert report.totals.kernel_count == 1
