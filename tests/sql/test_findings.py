"""Each finding of ``sql/findings`` on a trace that fits on the screen: where it holds, and what it says."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
import pytest

from nsys_pipeline import inputs
from nsys_pipeline.analyze import analyze
from nsys_pipeline.fleet.query import LOST_ROWS
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.inputs.notices import CODES
from nsys_pipeline.model import Conventions, Model, load_model
from nsys_pipeline.query.session import Session
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS, Finding
from nsys_pipeline.report.document import Table
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.sqlmods import Module, ModuleError, all_modules, parse, sentences_sql, template_sql
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, ask_session, findings_of, open_session
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "findings.md"
TESTS = Path(__file__).resolve().parents[1]


def findings(
    trace: TraceBuilder | Path,
    folder: Path,
    options: AnalysisOptions | None = None,
    *,
    rules: tuple[PhaseRule, ...] = (),
) -> dict[str, list[Finding]]:
    """Findings by code, as the report has them; nothing else of it is made."""
    opening = TraceOptions(use_cache=False, phase_rules=rules)
    path = trace if isinstance(trace, Path) else trace.write(Path(mkdtemp(dir=folder)) / "trace.sqlite")
    with open_trace(path, opening) as opened:
        found = findings_of(opened, options)
    return {code: [one for one in found if one.code == code] for code in (one.code for one in found)}


# -- the mechanism ---------------------------------------------------------------------------------------------------


def test_every_finding_has_a_test_and_a_paragraph() -> None:
    codes = {module.relation for module in all_modules().values() if module.is_finding} | CODES.keys() | {LOST_ROWS}
    documented = [line[4:].strip("`") for line in DOCUMENT.read_text().splitlines() if line.startswith("### ")]
    tests = "".join(path.read_text() for path in TESTS.rglob("*.py"))

    assert {code for code in codes if not re.search(rf"\b{code}\b", tests)} == set()
    assert sorted(codes) == sorted(documented)


def test_every_notice_of_python_has_its_row() -> None:
    """A code that CODES lacks would end the analysis. Codes are written out where a notice is made."""
    codes = [
        call.args[0]
        for path in Path(inputs.__file__).parent.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Notice"
    ]
    written_out = {code.value for code in codes if isinstance(code, ast.Constant)}

    assert all(isinstance(code, ast.Constant) for code in codes)
    assert written_out == CODES.keys()


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


def test_ranges_that_were_never_closed_are_counted(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, None, "decode").launch(10, gpu=(20, 30)).push(50, 80, "forward")

    (one,) = findings(trace, tmp_path)["unclosed_ranges"]

    assert one.severity == "warning"
    assert one.message.startswith("the end of 1 ranges was not recorded")
    assert one.at_stake_ns == 80


def test_operations_without_times_are_counted(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30)).launch(20, gpu=(0, 0)).memcpy(
        30, gpu=(0, 0)
    )

    (one,) = findings(trace, tmp_path)["untimed_work"]

    assert one.message.startswith("2 GPU operations were recorded without their times")


def test_kernels_inside_another_of_their_stream_are_told(tmp_path: Path) -> None:
    def trace(stream: int, **more: Any) -> TraceBuilder:
        made = TraceBuilder()
        main = made.process().thread().push(0, 9_000_000, "decode").launch(10, gpu=(1_000_000, 8_000_000))
        # One that ends with the other may have waited for it, as dependent launches do.
        main.launch(20, gpu=(3_000_000, 4_000_000), stream=stream, **more).launch(30, gpu=(5_000_000, 8_000_000))
        return made

    (one,) = findings(trace(7), tmp_path)["kernels_inside_kernels"]

    assert (one.severity, one.at_stake_ns) == ("warning", 5_000_000)
    assert one.message.startswith("1 kernels ran inside another kernel of their stream: ")
    assert "the longest takes 7.0 ms" in one.message
    assert "kernels_inside_kernels" not in findings(trace(8), tmp_path)
    assert "kernels_inside_kernels" not in findings(trace(7, graphNodeId=1 << 32), tmp_path)
    # A kernel that a kernel launches has no correlation id.
    assert "kernels_inside_kernels" not in findings(trace(7, correlationId=0), tmp_path)


def test_a_slow_first_occurrence_is_left_out_like_warmup(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for index, wall in enumerate((9_000_000, 1_000_000, 1_000_000, 1_000_000)):
        at = index * 10_000_000
        main.push(at, at + wall, "decode").launch(at + 10, gpu=(at + 20, at + 100_020))

    (one,) = findings(trace, tmp_path)["cold_first_occurrence"]

    assert (one.phase, one.at_stake_ns) == ("decode", 8_000_000)
    assert one.message == (
        "left out as cold: 1 of 4 occurrences of decode (the first ones), 9.0 ms on the host and 0.1 ms of GPU time "
        "each; the median of the others is 1.0 ms and 0.1 ms"
    )


@pytest.mark.parametrize("kernel", ["cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "flash_fwd_kernel"])
def test_lengths_that_cudnn_plans_attention_for_have_a_cure(kernel: str, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number in range(24):
        # each of eight lengths is slow the first time
        at, wall = number * 20_000_000, 9_000_000 if number < 8 else 1_000_000
        main.push(at, at + wall, "decode")
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":1,"kv":{100 + number % 8},"logits":1}}', domain="llmperf")
        main.launch(at + 10, gpu=(at + 20, at + 100_020), name=kernel)

    (one,) = findings(trace, tmp_path)["cold_first_occurrence"]

    assert "(the first of their length)" in one.message
    assert ("enable_cudnn_sdp(False)" in str(one.hint)) == kernel.startswith("cudnn")


def tiny_llama(*shapes: str, **conventions: Any) -> AnalysisOptions:
    return AnalysisOptions(
        model=load_model("tiny-llama"),
        shapes=tuple(map(RequestShape.parse, shapes)),
        conventions=Conventions(**conventions),
    )


def one_prefill() -> TraceBuilder:
    """A prefill of one kernel that takes as long as its range."""
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 1_000_000, "prefill").launch(10, gpu=(20, 900_000))
    return trace


def test_work_without_a_gpu_and_work_of_unknown_tables_are_told(tmp_path: Path) -> None:
    trace = TraceBuilder("2025.3")
    main = (
        trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30)).launch(30, gpu=(40, 50), device=None)
    )
    main.memcpy(60, gpu=(70, 80))

    found = findings(trace, tmp_path)

    assert found["device_assumed"][0].message.startswith("1 GPU operations do not say which GPU ran them")
    assert "uncounted_work" not in found


@pytest.mark.parametrize(
    ("table", "rows", "is_told"),
    [
        ("CUPTI_ACTIVITY_KIND_DEVICE_GRAPH_TRACE", 2, True),
        ("CUPTI_ACTIVITY_KIND_MEM_DECOMPRESS", 0, False),  # nsys export --lazy=false makes tables without rows
        ("CUPTI_ACTIVITY_KIND_WARP_TRACE", 2, False),
    ],
)
def test_work_in_tables_of_later_versions_is_told(table: str, rows: int, is_told: bool, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))
    path = trace.write(tmp_path / "trace.sqlite")
    with closing(sqlite3.connect(path)) as lite:
        lite.execute(f"CREATE TABLE {table} (start INT, end INT, deviceId INT, streamId INT)")
        lite.executemany(f"INSERT INTO {table} VALUES (?, ?, 0, 7)", [(40 + at, 45 + at) for at in range(rows)])
        lite.commit()

    query = "SELECT message, at_stake_ns FROM findings WHERE code = 'uncounted_work'"

    assert ask(path, query, tmp_path).splitlines()[1:] == (
        [f"the trace has GPU work that is not counted: {table},10"] if is_told else []
    )


def test_phases_inside_phases_are_named_pair_by_pair(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "prefill").push(20, 60, "decode").launch(30, gpu=(40, 50)).push(200, 300, "prefill")

    (one,) = findings(trace, tmp_path)["nested_phases"]

    assert (one.phase, one.at_stake_ns) == ("prefill", 40)
    assert one.message.startswith("1 ranges of prefill contain ranges of decode: the work counts for decode")


def test_all_phases_inside_one_are_told(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = (
        trace.process().thread().push(0, 100, "prefill").push(20, 60, "decode").push(30, 40, "verify", domain="llmperf")
    )
    main.push(70, 90, "decode").push(92, 99, "verify", domain="llmperf").launch(30, gpu=(40, 50))

    found = findings(trace, tmp_path)["nested_phases"]

    assert {(one.phase, one.message.split(":")[0], one.at_stake_ns) for one in found} == {
        ("prefill", "1 ranges of prefill contain ranges of decode", 40 + 20),
        ("prefill", "1 ranges of prefill contain ranges of verify", 7),
        ("decode", "1 ranges of decode contain ranges of verify", 10),
    }


def test_threads_that_have_a_phase_open_at_once_share_its_time(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 2_000_000, "decode").launch(10, gpu=(20, 30))
    process.thread(101).push(1_000_000, 3_000_000, "decode").launch(1_000_010, gpu=(1_000_020, 1_000_030))

    (one,) = findings(trace, tmp_path)["open_at_once"]

    assert one.message == (
        "threads that share a GPU have decode open at once, and wall time adds them up: 4.0 ms of wall in 3.0 ms of "
        "elapsed time"
    )


def test_threads_with_a_gpu_each_may_work_at_once(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process()
    process.thread().push(0, 2_000, "decode").launch(10, gpu=(20, 30))
    process.thread(101).push(1_000, 3_000, "decode").launch(1_010, gpu=(1_020, 1_030), device=1)

    assert "open_at_once" not in findings(trace, tmp_path)


def test_a_gpu_that_works_on_after_the_range_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 1_000, "prefill").launch(10, gpu=(20, 9_000_000))

    (one,) = findings(trace, tmp_path)["work_outlives_range"]

    assert (one.phase, one.at_stake_ns) == ("prefill", 8_999_980)


def test_an_unnamed_loop_that_never_waits_for_its_gpu_gets_no_warning_for_that(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    thread, gpu_ns = trace.process().thread(), 10_000
    for at in range(0, 2_400_000, 4_000):
        kernel = ("blur", "edge", "sharpen")[at // 4_000 % 3]
        thread.launch(at + 1, gpu=(gpu_ns, gpu_ns + 20_000), name=kernel)
        gpu_ns += 20_000

    found = findings(trace, tmp_path)

    assert "inferred_phases" in found
    assert "work_outlives_range" not in found


def test_work_of_a_thread_without_ranges_is_told_phase_by_phase(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 100, "forward").launch(10, gpu=(20, 30))
    process.thread(101).launch(40, gpu=(50, 60)).launch(45, gpu=(60, 65))

    (one,) = findings(trace, tmp_path)["other_thread"]

    assert (one.phase, one.at_stake_ns) == ("forward", 15)
    assert one.message.startswith("2 operations")


def test_a_trace_without_ranges_and_one_without_phases_differ(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().launch(10, gpu=(20, 30))
    bare = findings(trace, tmp_path)
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50, "something").launch(10, gpu=(20, 30))
    named = findings(trace, tmp_path)

    assert bare["no_nvtx"][0].at_stake_ns == 10
    assert "no_phases" not in bare
    not_inferred = (
        "; none is inferred: no kernels that tell a pass through a language model, and no kernel is launched 4 times "
        "with grids of like size, so none marks the turns of a loop"
    )
    assert named["no_phases"][0].message == f"none of the 1 NVTX ranges is a phase that llmperf knows{not_inferred}"
    assert bare["no_nvtx"][0].message.endswith(f"so all work is in no phase{not_inferred}")
    # Without ranges a trace may be healthy.
    assert {one.severity for found in (bare["no_nvtx"], named["no_phases"]) for one in found} == {"info"}
    assert "no_nvtx" not in named


def test_graphs_as_a_whole_and_graphs_without_a_trace_are_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 100, "decode")
    main.graph_launch(10, gpu=(20, 40))
    main.call(50, api="cudaGraphLaunch_v10000")

    found = findings(trace, tmp_path)

    assert found["whole_graphs"][0].at_stake_ns == 20
    assert found["untraced_graphs"][0].severity == "error"
    assert found["untraced_graphs"][0].message.startswith("what the GPU did in 1 of 2 CUDA graph launches")


@pytest.mark.parametrize(
    ("kernels", "lost", "capturing", "told"),
    [
        (48, 2, False, "2 of 50 calls that launch kernels have none in the trace"),
        # The end of most recordings.
        (50, 1, False, None),
        # What is captured becomes a graph.
        (2, 8, True, None),
        # `kernels_missing`
        (0, 4, False, None),
    ],
)
def test_launches_whose_kernels_nsys_lost_are_told(
    kernels: int, lost: int, capturing: bool, told: str | None, tmp_path: Path
) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 2000, "decode")
    for at in range(0, 10 * kernels, 10):
        main.launch(at, gpu=(at + 4, at + 8))
    if capturing:
        main.call(1000, api="cudaStreamBeginCapture_v10000")
    for at in range(1010, 1010 + 10 * lost, 10):
        main.call(at)
    if capturing:
        main.call(1500, api="cudaStreamEndCapture_v10000")

    found = findings(trace, tmp_path).get("nsys_lost_work", [])

    assert [one.message.partition(", the first")[0] for one in found] == ([told] if told else [])


def test_what_autograd_launches_into_a_graph_is_not_lost(tmp_path: Path) -> None:
    """A whole training step becomes a graph: the thread that begins to capture is not the one of the backward."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread()
    for at in range(0, 100, 10):
        main.launch(at, gpu=(at + 4, at + 8))
    main.call(1000, api="cudaStreamBeginCapture_v10000")
    main.call(1500, api="cudaStreamEndCapture_v10000")
    for at in range(1010, 1100, 10):
        autograd.call(at)

    assert "nsys_lost_work" not in findings(trace, tmp_path)

    autograd.call(1600)

    (lost,) = findings(trace, tmp_path)["nsys_lost_work"]
    assert lost.message.startswith("1 of 11 calls that launch kernels have none in the trace")


def test_an_export_that_does_not_say_its_nsys_is_told_by_its_tables(tmp_path: Path) -> None:
    trace = TraceBuilder("2020.3")
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))

    (one,) = findings(trace, tmp_path)["nsys_version_inferred"]

    assert "(inferred)" in one.message


def test_inference_without_a_model_and_without_shapes_has_no_utilization(tmp_path: Path) -> None:
    without_model = findings(one_prefill(), tmp_path)
    without_shapes = findings(one_prefill(), tmp_path, tiny_llama())
    with_both = findings(one_prefill(), tmp_path, tiny_llama("1x16"))

    assert without_model["no_model"][0].at_stake_ns == 1_000_000
    assert (without_model["no_model"][0].hint or "").endswith("--model llama-3.2-1b --shape 8x512+32")
    assert "no_shapes" not in without_model
    assert without_shapes["no_shapes"][0].at_stake_ns == 1_000_000
    assert not {"no_model", "no_shapes"} & with_both.keys()


def test_steps_that_say_their_tokens_need_no_shape(tmp_path: Path) -> None:
    """The range of a server's step says what a user of `--shape` would, and better."""
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "execute_context_1(7)_generation_0(0)").launch(10, gpu=(20, 30))

    (found,) = findings(trace, tmp_path)["no_model"]

    assert found.hint == "pass --model alone, as in --model llama-3.2-1b: the steps say their own shapes"


def test_marks_of_steps_without_that_of_the_model_say_why(tmp_path: Path) -> None:
    """`--capture-range nvtx` or `--delay`: the recording begins behind the mark that comes once."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 100, "prefill", domain="llmperf").launch(10, gpu=(20, 30))
    main.mark(1, 'llmperf.step {"q":8,"kv":0,"b":1,"logits":1}', domain="llmperf")

    (found,) = findings(trace, tmp_path)["no_model"]

    assert (found.hint or "").endswith("what marks the model may have come before the recording began")


def test_training_asks_for_no_model(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "forward").launch(10, gpu=(20, 30))

    assert "no_model" not in findings(trace, tmp_path)


def test_a_rule_of_the_users_that_matches_nothing_is_named(tmp_path: Path) -> None:
    trace = one_prefill()
    rules = tuple(map(PhaseRule.from_option, ("a=^prefill$", "b=^nobody")))

    found = findings(trace, tmp_path, rules=rules)["rule_without_ranges"]

    assert [one.message for one in found] == [
        "`--phase b=^nobody` matches no range, or only ranges that an earlier rule took"
    ]


def test_an_operator_faster_than_the_hardware_is_named(tmp_path: Path) -> None:
    rows = """
        SELECT * FROM (VALUES
            ('prefill', '1x512', 'qkv', 10, 1.01), ('decode', '1x1', 'experts_down', 20, 1.968),
            ('decode', '1x1', 'o', 30, 1.0)
        ) AS v(phase, shape, operator, time_ns, roofline_ratio)
    """
    module = all_modules()["findings.faster_than_hardware"]
    with open_session(TraceBuilder().gpu(), tmp_path, close_off=False) as session:
        con = session.database
        con.execute(f"CREATE SCHEMA IF NOT EXISTS views; CREATE OR REPLACE TABLE views.operator_summary AS {rows}")
        ((severity, message, at_stake_ns),) = con.execute(
            f"SELECT severity, message, at_stake_ns FROM ({sentences_sql(module)})"
        ).fetchall()

    assert (severity, at_stake_ns) == ("error", 30)
    assert message == (
        "2 operators took less time than their estimate needs at peak, first of all experts_down of decode 1x1: 197 % "
        "of the roofline"
    )


def test_a_degree_of_more_gpus_than_the_trace_has_is_doubted(tmp_path: Path) -> None:
    (one,) = findings(one_prefill(), tmp_path, tiny_llama("1x16", tp=2, pp=2))["parallel_degree_mismatch"]

    assert one.message.startswith(
        "with --tp 2 --pp 2 each pass is split among 4 GPUs, but the trace has work on only 1"
    )


@pytest.mark.parametrize(
    ("gpus", "world", "options", "told"),
    [
        (2, None, {"dp": 4}, "with --dp 4 the job has 4 GPUs, but the trace has work on 2"),
        (2, 8, {"dp": 4}, "with --dp 4 the job has 4 GPUs, but its ranks say that they are 8"),
        (4, None, {"dp": 1, "tp": 2}, "with --tp 2 --dp 1 the job has 2 GPUs, but the trace has work on 4"),
        (3, None, {"tp": 2}, "with --tp 2 the job has a multiple of 2 GPUs, but the trace has work on 3"),
        (2, None, {"dp": 2}, None),
        (4, None, {"dp": 2, "tp": 2}, None),
        (1, None, {"dp": 4}, None),  # one rank of four
        (1, 4, {"dp": 4}, None),
        (4, None, {"tp": 2}, None),
        (4, None, {}, None),
    ],
)
def test_degrees_that_do_not_fit_the_job_are_told(
    gpus: int, world: int | None, options: dict[str, int], told: str | None, tmp_path: Path
) -> None:
    trace = TraceBuilder()
    for rank in range(gpus):
        main = trace.gpu(rank).process(100 + rank).thread().push(0, 1_000, "prefill")
        main.launch(10, gpu=(20, 900), device=rank)
        if world:
            main.mark(1, f'llmperf.run {{"v":1,"rank":{rank},"world":{world}}}', domain="llmperf")
    degrees = Conventions(tp=options.get("tp", 1))
    how = AnalysisOptions(
        model=load_model("tiny-llama"), shapes=(RequestShape(1, 16),), conventions=degrees, dp=options.get("dp")
    )

    assert [one.message for one in findings(trace, tmp_path, how).get("job_size_mismatch", [])] == (
        [told] if told else []
    )


def test_ranks_that_talk_inside_a_pass_share_a_model_most_likely(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for device in (0, 1):
        main = trace.process(100 + device).thread().push(0, 1_000_000, "prefill")
        main.launch(10, gpu=(20, 600_000), device=device)
        main.launch(30, gpu=(600_000, 900_000), device=device, name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL")

    path = trace.write(tmp_path / "ranks.sqlite")
    query = "SELECT flops, mfu_busy FROM phase_summary"

    (one,) = findings(path, tmp_path, tiny_llama("1x16"))["parallel_degree_unknown"]

    assert (one.severity, one.phase, one.at_stake_ns) == ("error", "prefill", 2 * 899_980)
    assert ask(path, query, tmp_path, options=tiny_llama("1x16")) == "flops,mfu_busy\n,"
    for told in (tiny_llama("1x16", tp=2), attrs.evolve(tiny_llama("1x16"), is_degree_told=True)):
        assert "parallel_degree_unknown" not in findings(path, tmp_path, told)
        assert ask(path, query, tmp_path, options=told) != "flops,mfu_busy\n,"


@pytest.mark.parametrize(("reductions", "is_doubtful"), [(2, False), (8, True)])
def test_ranks_that_reduce_in_each_layer_of_a_forward_share_it(
    tmp_path: Path, reductions: int, is_doubtful: bool
) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for device in (0, 1):
        main = trace.process(100 + device).thread()
        main.mark(0, 'llmperf.run {"v":1,"world":2}', domain="llmperf")
        for start, name in ((0, "forward"), (1_000_000, "backward")):
            main.push(start, start + 900_000, name)
            main.mark(start + 1, 'llmperf.step {"b":1,"q":16,"kv":0,"logits":16}', domain="llmperf")
            main.launch(start + 10, gpu=(start + 20, start + 500_000), device=device)
            for number in range(reductions):
                at = start + 500_000 + 10_000 * number
                main.launch(
                    at, gpu=(at + 10, at + 9_000), device=device, name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
                )
    path = trace.write(tmp_path / "ranks.sqlite")
    model = tiny_llama()

    rows = ask(path, "SELECT count(flops) FROM phase_summary", tmp_path, options=model)

    assert ("parallel_degree_unknown" in findings(path, tmp_path, model)) == is_doubtful
    assert rows.splitlines()[1] == ("0" if is_doubtful else "2")
    # a step that ranks share has its tokens once
    tokens = ask(path, "SELECT count(tokens), count(*) FROM training_steps", tmp_path, options=model)
    assert tokens.splitlines()[1] == ("0,2" if is_doubtful else "2,2")


def test_a_phase_that_did_more_than_its_gpu_can_has_no_utilization(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in (0, 2_000_000):
        main.push(at, at + 1_000_000, "prefill").launch(at + 10, gpu=(at + 20, at + 900))
    path = trace.write(tmp_path / "fast.sqlite")
    options = tiny_llama("64x4096")

    (one,) = findings(path, tmp_path, options)["impossible_utilization"]

    assert (one.severity, one.phase, one.at_stake_ns) == ("error", "prefill", 2 * 880)
    for view in ("phase_summary", "shape_summary", "phases"):
        answer = ask(
            path, f"SELECT DISTINCT mfu_wall, mfu_busy, mbu_wall, mbu_busy FROM {view}", tmp_path, options=options
        )
        assert answer == "mfu_wall,mfu_busy,mbu_wall,mbu_busy\n,,,", view


def test_what_nobody_counts_makes_a_phase_a_lower_bound(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 90_000_000, "prefill").launch(10, gpu=(20, 80_000_000))
    main.push(100_000_000, 190_000_000, "decode").launch(100_000_010, gpu=(100_000_020, 180_000_000))
    options = AnalysisOptions(model=load_model("llava-1.5-7b"), shapes=(RequestShape.parse("1x16+1"),))
    assert options.model is not None
    assert options.model.left_out() == ("vision tower",)
    path = trace.write(tmp_path / "vision.sqlite")

    (one,) = findings(path, tmp_path, options)["parts_not_counted"]

    assert (one.phase, one.at_stake_ns) == ("prefill", 79_999_980)
    assert one.message == (
        "vision tower of llava-1.5-7b is not counted: FLOPs, bytes, MFU and MBU of prefill are lower bounds"
    )
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, options)
    assert [(phase.name, phase.is_lower_bound) for phase in report.phases] == [("prefill", True), ("decode", False)]
    assert ["at least" in (phase.bound_detail or "") for phase in report.phases] == [True, False]
    document = report_document(report)
    assert document.subtitles[-1].endswith("not counted: vision tower")
    (table,) = [block for one in document.sections if one.name == "phases" for block in one.blocks[:1]]
    assert isinstance(table, Table)
    cells = {column.heading: column.cells for column in table.columns}
    for name in ("TFLOP", "MFU\nwall %", "MFU\nbusy %", "MBU\nbusy %"):
        prefill, decode = cells[name][:2]
        assert prefill.startswith("≥"), name
        assert not decode.startswith("≥"), name


LLAMA = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_SHAPES = ("1x128+4", "1x2048+32", "8x512+32", "1x128+64")
RIGHT = {
    "h100_llama1b": (LLAMA, LLAMA_SHAPES),
    "h100_cuda_graph_whole": (LLAMA | {"num_hidden_layers": 8, "vocab_size": 32000}, ("4x512+32",)),
    "h100_cuda_graph_node": (LLAMA | {"num_hidden_layers": 8, "vocab_size": 32000}, ("4x512+32",)),
    "h100_two_threads": (LLAMA | {"num_hidden_layers": 4, "vocab_size": 32000}, ("1x512+16",)),
    "h200x2_tensor_parallel": (
        LLAMA | {"num_hidden_layers": 8, "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 32000},
        ("1x128+2", "4x1024+24"),
    ),
    "h100_mixtral_small": (
        LLAMA
        | {"model_type": "mixtral", "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 8}
        | {"num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000}
        | {"num_local_experts": 8, "num_experts_per_tok": 2},
        ("1x64+2", "2x1024+24"),
    ),
    "h200_vllm_serve": (
        LLAMA | {"model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 12}
        | {"head_dim": 128, "vocab_size": 32000},
        (),
    ),
    "h100_deepseek_layers": (None, ()),
    "h100_flash_attention_4": (None, ()),
    "h100_torch_compile": (None, ()),
    "h100_auto_generate": (None, ()),
}  # fmt: skip


def misfit(name: str, layers: int | None = None) -> list[tuple[str, str]]:
    """(phase, message) of the finding on a real trace with its own model, or with another number of layers."""
    config, shapes = RIGHT[name]
    if config and layers:
        config = config | {"num_hidden_layers": layers}
    options = AnalysisOptions(
        model=Model.from_config(config) if config else None,
        shapes=tuple(map(RequestShape.parse, shapes)),
        is_degree_told=True,
    )
    with open_trace(TRACES / f"{name}{SUFFIX}") as trace:
        trace.describe(options)
        module = all_modules()["findings.model_does_not_fit"]
        trace.build(*module.requires)
        found = trace.connection.execute(f"SELECT phase, message FROM ({sentences_sql(module)})").fetchall()
    return [(phase, message) for phase, message in found]


@pytest.mark.parametrize("name", RIGHT)
def test_the_model_that_ran_fits_its_trace(name: str) -> None:
    assert misfit(name) == []


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("h100_llama1b", 8),
        ("h100_llama1b", 32),
        ("h100_cuda_graph_whole", 16),
        ("h200x2_tensor_parallel", 4),
        ("h100_mixtral_small", 16),
        ("h200_vllm_serve", 28),
    ],
)
def test_a_model_with_other_layers_does_not_fit_its_trace(name: str, layers: int) -> None:
    ((_, message),) = misfit(name, layers)

    assert f"has {layers} attention operations" in message
    assert "it is another model" in message


def test_a_healthy_trace_without_ranges_has_no_finding_about_its_health(tmp_path: Path) -> None:
    # given kernels one after another that the host launches ahead of time: one per cent of idle
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for index in range(100):
        at, start = 20_000 * index, 10_000 + 101_000 * index
        main.launch(at, until=at + 3_000, gpu=(start, start + 100_000), name=f"gemm_kernel_{index % 3}")

    found = findings(trace, tmp_path)

    assert [(code, one.severity) for code, (one,) in found.items()] == [("no_nvtx", "info")]


@pytest.mark.parametrize(("layers", "fits"), [(8, True), (16, False)])
def test_the_model_checks_inferred_passes_without_any_shape(layers: int, fits: bool) -> None:
    config = LLAMA | {"num_hidden_layers": layers, "vocab_size": 32000}
    opening = TraceOptions(use_cache=False, infers=True)
    with open_trace(TRACES / f"h100_cuda_graph_node{SUFFIX}", opening) as trace:
        trace.describe(AnalysisOptions(model=Model.from_config(config)))
        module = all_modules()["findings.model_does_not_fit"]
        trace.build(*module.requires)
        found = trace.connection.execute(f"SELECT phase FROM ({sentences_sql(module)})").fetchall()

    assert found == ([] if fits else [("decode",)])


def passes_of_six_layers(drafts: int = 0) -> TraceBuilder:
    """Three passes; each decode step has `drafts` more layers."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    layers = 6
    for number, phase in enumerate(("prefill", "decode", "decode")):
        start = number * 1_000_000
        main.push(start, start + 900_000, phase)
        runs = layers + (drafts if phase == "decode" else 0)
        names = [*["flash_fwd_kernel"] * runs, *["sm90_xmma_gemm_bf16"] * (runs * 7 + 1)]
        for index, name in enumerate(names):
            at = start + 1_000 * index
            main.launch(at + 10, gpu=(at + 100, at + 900), name=name)
    return trace


@pytest.mark.parametrize(("drafts", "fits"), [(0, False), (4, True)])
def test_a_pass_with_drafts_among_it_cannot_tell(drafts: int, fits: bool, tmp_path: Path) -> None:
    trace = passes_of_six_layers(drafts)

    assert ("model_does_not_fit" not in findings(trace, tmp_path, tiny_llama("1x16+2"))) is fits


@pytest.mark.parametrize("layers", [2, 6])
def test_nothing_is_counted_with_a_model_that_did_not_run(layers: int, tmp_path: Path) -> None:
    path = passes_of_six_layers().write(tmp_path / "trace.sqlite")
    model = Model.from_config(LLAMA | {"num_hidden_layers": layers, "hidden_size": 64, "vocab_size": 96}, name="tiny")
    options = AnalysisOptions(model=model, shapes=(RequestShape.parse("1x16+2"),))
    fits = layers == 6

    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace, options)
    with open_session(path, tmp_path, options) as session:
        counted = ask_session(
            session,
            "SELECT (SELECT count(flops) + count(mfu_busy) + count(bytes) FROM phases), "
            "(SELECT count(flops) + count(mfu_busy) + count(mbu_busy) FROM shape_summary), "
            "(SELECT count(flops) + count(mfu_busy) + count(sol_ratio) FROM phase_summary)",
        ).splitlines()[1]

    assert (counted != "0,0,0") is fits
    assert all((phase.flops is not None) is fits for phase in report.phases)
    (check,) = [check for check in report.checks if check.name == "utilization.bounded"]
    assert check.passed is fits
    assert [phase.tokens for phase in report.phases] == [16, 2]


# -- what only Python can tell ---------------------------------------------------------------------------------------


def test_missing_gpu_work_and_what_nsys_noted_are_findings(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "decode").call(40, api="cudaLaunchKernel_v7000")
    trace.diagnostic("Some events were dropped", severity=3)
    found = findings(trace, tmp_path)

    assert found["kernels_missing"][0].severity == "error"
    assert "dropped" in found["nsys_diagnostic"][0].message

    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode")
    assert "no_gpu_work" in findings(trace, tmp_path)


def test_shapes_that_are_not_used_or_do_not_fit_are_told(tmp_path: Path) -> None:
    trace = one_prefill()
    assert "requests_without_shape" in findings(trace, tmp_path, tiny_llama("1x16+4"))

    marked = TraceBuilder().gpu()
    main = marked.process().thread().push(0, 1_000_000, "prefill").launch(10, gpu=(20, 900_000))
    main.mark(5, 'llmperf.step {"b":1,"q":16,"kv":0,"logits":1}')
    main.push(2_000_000, 3_000_000, "decode").mark(2_000_005, "llmperf.step {nothing")
    found = findings(marked, tmp_path, tiny_llama("1x16+0"))

    assert "bad_step_marks" in found

    marked = TraceBuilder().gpu()
    main = marked.process().thread().push(0, 1_000_000, "prefill").launch(10, gpu=(20, 900_000))
    main.mark(5, 'llmperf.step {"b":1,"q":16,"kv":0,"logits":1}')
    assert "shapes_ignored" in findings(marked, tmp_path, tiny_llama("1x16+0"))


def test_gpus_whose_peaks_are_not_cited_are_told(tmp_path: Path) -> None:
    def codes(options: AnalysisOptions | None = None, **gpu: object) -> set[str]:
        trace = TraceBuilder().gpu(**gpu)  # type: ignore[arg-type]
        trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))
        return {one for one in findings(trace, tmp_path, options) if one in CODES}

    assert "derived_peak" in codes(name="NVIDIA Foo 9000")
    assert "unknown_gpu" in codes(name="NVIDIA Foo 9000", clock_hz=0)
    assert "partial_gpu" in codes(name="NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    given = AnalysisOptions(peaks={"bf16": 1e12})
    assert "unknown_bandwidth" in codes(given, name="NVIDIA Foo 9000", memory_bandwidth=0)


def test_a_quantization_that_is_not_read_is_told(tmp_path: Path) -> None:
    quantization = {"quant_method": "awq", "bits": 4, "group_size": 128, "nobody_knows_this": 7}
    config = {**load_model("tiny-llama").config, "quantization_config": quantization}

    found = findings(one_prefill(), tmp_path, AnalysisOptions(model=Model.from_config(config)))

    (one,) = found["quantization_not_read"]
    assert "nobody_knows_this" in one.message


@pytest.mark.parametrize(("stored", "dtype", "is_told"), [("float32", "bfloat16", True), ("float32", "float32", False)])
def test_weights_that_are_cast_make_bytes_a_lower_bound(stored: str, dtype: str, is_told: bool, tmp_path: Path) -> None:
    config = json.dumps(load_model("tiny-llama").config)
    trace = one_prefill()
    trace.process(300).thread().mark(1, f'llmperf.run {{"v":1,"model":{config},"dtype":"{dtype}","stored":"{stored}"}}')

    found = findings(trace, tmp_path).get("weights_cast", [])

    told = ("warning", "weights are stored in fp32 and multiplied in bf16: bytes are those of bf16")
    assert [(one.severity, one.message.partition(", and what")[0]) for one in found] == ([told] if is_told else [])


def test_experts_that_data_parallel_ranks_share_are_told(tmp_path: Path) -> None:
    mixtral = json.dumps(load_model("mixtral-8x7b").config)
    trace = one_prefill()
    trace.process(300).thread().mark(1, f'llmperf.run {{"v":1,"model":{mixtral},"dp":4,"ep":4}}')

    (one,) = findings(trace, tmp_path)["experts_of_other_ranks"]

    assert (one.severity, one.message[:38]) == ("warning", "4 GPUs of 4 data-parallel ranks share ")
    alone = one_prefill()
    alone.process(300).thread().mark(1, f'llmperf.run {{"v":1,"model":{mixtral},"dp":4,"ep":1}}')
    assert "experts_of_other_ranks" not in findings(alone, tmp_path)


def test_models_that_cannot_be_counted_are_told(tmp_path: Path) -> None:
    trace = one_prefill()
    trace.process(300).thread().mark(1, 'llmperf.run {"v":1,"model":{"model_type":"nobody"}}')
    assert "model_not_understood" in findings(trace, tmp_path)

    huge = AnalysisOptions(model=load_model("tiny-llama"), shapes=(RequestShape(MAX_BATCH, MAX_TOKENS),))
    assert "no_estimate" in findings(one_prefill(), tmp_path, huge)

    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 1_000, "prefill").launch(10, gpu=(20, 900))
    main.push(2_000, 3_000, "decode").launch(2_010, gpu=(2_020, 2_030))
    encoder = AnalysisOptions(model=load_model("bert-base"), shapes=(RequestShape(1, 16, 1),))
    assert "encoder_has_no_decode" in findings(trace, tmp_path, encoder)


# -- jobs of several ranks -------------------------------------------------------------------------------------------


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
    # each of two ranks waits for 6 ms in the one occurrence, and nothing runs between the collectives
    assert late.message == (
        "in forward the other ranks wait 12.0 ms for rank 1, each of them 6.0 ms a step, and it comes last to 3 of 3"
        " collectives: before them its GPU is idle for at least 4.0 ms longer, for the host does something else"
    )
    (missing,) = found["ranks_missing"]
    assert missing.message == "the job has 4 ranks, and the trace has 3 of them: rank 3 missing"


def test_a_rank_that_is_there_twice_and_one_that_was_cut(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    for file, rank, steps in (("rank0", 0, 10), ("rank1", 1, 10), ("rank3", 1, 10), ("rank2", 2, 6)):
        trace = TraceBuilder().gpu(rank)
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":3}}', domain="llmperf")
        for step in range(steps):
            at = 1_000_000 * (step + 1)
            main.push(at, at + 900_000, "forward").launch(
                at, gpu=(at + 10, at + 800_000 + (file == "rank3")), name="gemm", device=rank
            )
        trace.write(job / f"trace-{file}.sqlite")

    found = findings(job, tmp_path)

    (twice,) = found["ranks_repeated"]
    # Work of one process id in both, of GPUs without an identity: they are taken for two hosts.
    assert twice.message == (
        "2 traces are of rank 1: `trace-rank1.sqlite`, `trace-rank3.sqlite`; each counts, each on another host: the"
        " number may be that on its host (LOCAL_RANK)"
    )
    (cut,) = found["rank_recorded_less"]
    assert cut.message.startswith("rank 2 has 5.8 ms of GPU work from its first operation to its last")
    assert "ranks_missing" not in found


def test_work_without_times_makes_no_rank_longer(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for rank in range(2):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2}}', domain="llmperf")
        main.push(900_000, 2_000_000, "forward").launch(900_010, gpu=(1_000_000, 1_500_000), name="gemm", device=rank)
    main.launch(900_100, gpu=(0, 0), name="gemm", device=1)

    assert "rank_recorded_less" not in findings(trace, tmp_path)


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


def test_warm_up_of_another_thread_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 1_000, "warmup")
    worker = process.thread(222).push(100, 200, "prefill").launch(110, gpu=(120, 130))
    worker.push(2_000, 2_100, "prefill").launch(2_010, gpu=(2_020, 2_030))

    (found,) = findings(trace, tmp_path)["warmup_of_another_thread"]

    assert (found.phase, found.at_stake_ns) == ("prefill", 100)
    assert found.message.startswith("1 of the ranges of prefill")


def test_several_prompts_in_a_request_have_no_time_per_token(tmp_path: Path) -> None:
    # given batches that are admitted one after the other, with steps of 5 ns
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 100, "request")
    for start, end, name in ((1, 21, "prefill"), (22, 27, "decode"), (28, 48, "prefill"), (49, 54, "decode")):
        main.push(start, end, name).launch(start + 1, gpu=(start + 2, end - 1))

    (found,) = findings(trace, tmp_path)["several_prompts"]

    assert found.message.startswith("in 1 of 1 requests a prefill follows a decode step: ")
    assert ask(trace, "SELECT ttft_ns, tpot_ns FROM requests", tmp_path).splitlines()[1:] == ["21,"]
