"""No mutant of a trace crashes the engine, hangs it, or gets a number that the reference does not get.

`LLMPERF_EXAMPLES=many` tries a thousand; ``python -m tests.support.judge --from A --to B`` does without pytest.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.errors import TraceError
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.ask import report_of
from tests.support.edge_traces import EDGE_TRACES
from tests.support.examples import examples
from tests.support.judge import differs, judge, run_analyze
from tests.support.mutants import FAMILIES, make_mutant
from tests.support.parquet_export import to_parquetdir
from tests.support.reference import attribute, summarize
from tests.support.small_trace import small_trace
from tests.support.trace_builder import TraceBuilder

pytestmark = pytest.mark.slow

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"


@pytest.mark.parametrize("seed", range(examples(20)))
def test_a_mutant_is_analyzed_rightly_or_refused(seed: int, tmp_path: Path) -> None:
    mutant = make_mutant(seed, tmp_path)

    verdict = judge(mutant)

    assert verdict.outcome in ("right", "refused"), f"{mutant.what}: {verdict.detail}"


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_seeds_make_equal_mutants(family: str, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        path = make_mutant(7, folder, family=family).path
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        contents.append([file.read_bytes() for file in files])

    assert contents[0] == contents[1]


def test_the_judge_sees_a_wrong_number() -> None:
    healthy: dict[str, Any] = {
        "totals": {"kernel_count": 2},
        "phases": {},
        "unattributed": {"no_range": dict.fromkeys(
            ("kernel_count", "kernel_time_ns", "memop_count", "graph_launch_count", "graph_time_ns"), 2
        )},
    }  # fmt: skip
    report = {"totals": healthy["totals"], "phases": [], "unattributed": healthy["unattributed"]["no_range"]}

    assert differs(report, healthy) is None
    assert differs({**report, "totals": {"kernel_count": 3}}, healthy)
    assert differs({**report, "unattributed": {**report["unattributed"], "kernel_time_ns": 1}}, healthy)


# -- what mutants found, one of each kind ----------------------------------------------------------------------------


def change(path: Path, *statements: str) -> Path:
    """`path` with SQL run over it."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
    return path


def retyped(path: Path, table: str, column: str, kind: str) -> Path:
    """`path` with `column` declared as `kind`: SQLite stores numbers in another way then."""
    with closing(sqlite3.connect(path)) as db, db:
        columns = [(row[1], row[2]) for row in db.execute(f"PRAGMA table_info({table})")]
        declared = ", ".join(f'"{name}" {kind if name == column else old}' for name, old in columns)
        db.execute(f"ALTER TABLE {table} RENAME TO _old")
        db.execute(f"CREATE TABLE {table} ({declared})")
        db.execute(f"INSERT INTO {table} SELECT * FROM _old")
        db.execute("DROP TABLE _old")
    return path


def healthy(folder: Path) -> Path:
    return small_trace().write(folder / "trace.sqlite")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the healthy trace."""
    return report_of(healthy(tmp_path_factory.mktemp("healthy")))


def codes(report: Report) -> set[str]:
    return {notice.code for notice in report.warnings}


def test_work_without_a_gpu_number_stays_in_its_phase(right: Report, tmp_path: Path) -> None:
    path = small_trace().without_column("deviceId").write(tmp_path / "without.sqlite")

    report = report_of(path)

    assert [phase.kernel_time_ns for phase in report.phases] == [phase.kernel_time_ns for phase in right.phases]
    assert [phase.gpu_busy_ns for phase in report.phases] == [phase.gpu_busy_ns for phase in right.phases]
    assert "device_assumed" in codes(report) - codes(right)


@pytest.mark.parametrize("value", ["12.7", "1e3x", "", "0x10", "1_000", "9223372036854775808"])
def test_a_time_that_is_no_whole_number_is_refused_not_rounded(value: str, tmp_path: Path) -> None:
    path = retyped(healthy(tmp_path), KERNEL, "end", "TEXT")
    change(path, f"UPDATE {KERNEL} SET end = '{value}' WHERE rowid = 3")

    with pytest.raises(TraceError, match="where a number belongs") as refusal:
        report_of(path)
    assert refusal.value.hint


@pytest.mark.parametrize("kind", ["TEXT", "REAL", "BLOB"])
def test_whole_numbers_count_however_they_are_stored(kind: str, right: Report, tmp_path: Path) -> None:
    path = retyped(retyped(healthy(tmp_path), KERNEL, "end", kind), "NVTX_EVENTS", "globalTid", "TEXT")

    assert report_of(path).totals == right.totals


@pytest.mark.parametrize("change_of", ["half", "word", "flag"])
def test_a_parquet_column_of_other_values_is_refused_not_rounded(change_of: str, tmp_path: Path) -> None:
    import polars as pl

    folder = to_parquetdir(healthy(tmp_path), tmp_path / "parquet")
    frame = pl.read_parquet(folder / f"{KERNEL}.parquet")
    values = {
        "half": frame["end"].cast(pl.Float64) + 0.5,
        "word": frame["end"].cast(pl.String) + "x",
        "flag": frame["end"] > 0,
    }
    frame.with_columns(values[change_of].alias("end")).write_parquet(folder / f"{KERNEL}.parquet")

    with pytest.raises(TraceError, match="end holds") as refusal:
        report_of(folder)
    assert refusal.value.hint


def test_whole_numbers_in_parquet_count_however_they_are_stored(right: Report, tmp_path: Path) -> None:
    import polars as pl

    folder = to_parquetdir(healthy(tmp_path), tmp_path / "parquet")
    frame = pl.read_parquet(folder / f"{KERNEL}.parquet")
    frame.with_columns(pl.col("start").cast(pl.Float64), pl.col("end").cast(pl.String)).write_parquet(
        folder / f"{KERNEL}.parquet"
    )

    assert report_of(folder).totals == right.totals


@pytest.mark.parametrize("kind", ["sqlite", "parquet"])
def test_another_table_under_the_name_of_the_kernels_is_refused(kind: str, tmp_path: Path) -> None:
    path = healthy(tmp_path)
    if kind == "sqlite":
        runtime = "CUPTI_ACTIVITY_KIND_RUNTIME"
        change(path, f"DROP TABLE {KERNEL}", f"CREATE TABLE {KERNEL} AS SELECT * FROM {runtime}")
    else:
        path = to_parquetdir(path, tmp_path / "parquet")
        (path / f"{KERNEL}.parquet").write_bytes((path / "CUPTI_ACTIVITY_KIND_RUNTIME.parquet").read_bytes())

    with pytest.raises(TraceError, match="KIND_KERNEL holds another table") as refusal:
        report_of(path)
    assert refusal.value.hint


def test_a_failed_check_comes_with_one_error_and_one_hint(tmp_path: Path) -> None:
    path = change(healthy(tmp_path), f'UPDATE {KERNEL} SET start = "end", "end" = start WHERE rowid = 5')

    code, out, err = run_analyze(path)

    assert (code, bool(out)) == (1, True)
    assert [line.partition(":")[0] for line in err.splitlines() if line] == ["error", "hint"]
    assert "work.ends_after_start" in err


def test_a_string_that_is_there_twice_doubles_no_range(tmp_path: Path) -> None:
    path = retyped(healthy(tmp_path), "StringIds", "id", "INTEGER")
    change(path, "INSERT INTO StringIds SELECT * FROM StringIds")

    report = report_of(path)

    assert [phase.occurrences for phase in report.phases] == [1, 29]
    assert report.totals.kernel_count == 300


def test_copies_have_directions_in_exports_without_their_names(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().memcpy(10, gpu=(20, 25), kind=8)
    path = trace.without("ENUM_CUDA_MEMCPY_OPER").write(tmp_path / "trace.sqlite")

    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.build("load.memop_details")
        rows = opened.connection.execute("SELECT direction FROM load.memop_details").fetchall()

    assert rows == [("Device-to-Device",)]


def test_gpu_operations_without_times_are_counted_and_named(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50, "prefill").launch(10, gpu=(20, 30)).launch(12, gpu=(0, 0))

    report = report_of(trace.write(tmp_path / "trace.sqlite"))

    assert report.totals.kernel_count == 2
    assert "untimed_work" in codes(report)


def test_a_schema_that_sqlite_cannot_even_quote_is_damage(tmp_path: Path) -> None:
    path = healthy(tmp_path)
    content = path.read_bytes()
    at = content.index(b"CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME")
    path.write_bytes(content[:at] + b"CREATE TABLE \x99\xff\x98(" + content[at + 17 :])

    with pytest.raises(TraceError, match="damaged") as refusal:
        report_of(path)
    assert refusal.value.hint


# -- what marks and names may say ------------------------------------------------------------------------------------


NO_STEPS = (
    '{"q":1,"b":1000000000000}', '{"q":"12"}', '{"q":1.5}', '{"q":[1],"logits":[]}', '{"q":1,"logits":{}}',
    '{"q":true}', '{"q":1e999}', '{"q":-1}', '{"q":1000000000000000000000}', "[" * 20_000, "", '"q"',
)  # fmt: skip


def test_step_marks_that_make_no_sense_are_ignored_and_told(tmp_path: Path) -> None:
    # given one that can be read, and twelve that cannot
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for index, payload in enumerate(('{"q":8}', *NO_STEPS)):
        at = 100 * index
        main.push(at, at + 50, "prefill", domain="llmperf")
        main.mark(at + 1, f"llmperf.step {payload}", domain="llmperf").launch(at + 10, gpu=(at + 20, at + 30))

    report = report_of(trace.write(tmp_path / "trace.sqlite"))

    (told,) = [notice.message for notice in report.warnings if notice.code == "bad_step_marks"]
    assert told == "12 step marks cannot be read and are ignored"
    assert report.totals.kernel_count == 13


@pytest.mark.parametrize(
    ("field", "value"), [("num_hidden_layers", 10**12), ("hidden_size", 10**18), ("num_attention_heads", "x")]
)
def test_a_run_mark_with_an_impossible_model_is_named(field: str, value: object, tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, field: value,
    }  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'model': config, 'dtype': 'bf16'})}", domain="llmperf")
    main.push(0, 50, "prefill", domain="llmperf").mark(1, 'llmperf.step {"q":8}', domain="llmperf")
    main.launch(10, gpu=(20, 30))

    assert "model_not_understood" in codes(report_of(trace.write(tmp_path / "trace.sqlite")))


def test_a_name_with_thousands_of_digits_is_no_crash(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    digits = "9" * 5000
    main.push(0, 50, f"execute_context_1({digits})_generation_0(0)").launch(10, gpu=(20, 30))

    (phase,) = report_of(trace.write(tmp_path / "trace.sqlite")).phases

    assert (phase.name, phase.kernel_count, phase.tokens) == ("prefill", 1, None)


# -- what is known of GPUs -------------------------------------------------------------------------------------------


def slice_of_a_gpu(path: Path) -> None:
    change(
        path,
        "CREATE TABLE TARGET_INFO_CUDA_DEVICE (gpuId INTEGER, cudaId INTEGER, pid INTEGER, uuid TEXT, "
        "numMultiprocessors INTEGER)",
        "INSERT INTO TARGET_INFO_CUDA_DEVICE VALUES (0, 0, 100, 'MIG-1', 16)",
    )


def table_of_early_2021(path: Path) -> None:
    change(
        path,
        "DROP TABLE TARGET_INFO_GPU",
        "CREATE TABLE TARGET_INFO_CUDA_GPU (deviceId INTEGER, name TEXT, numMultiprocessors INTEGER, "
        "computeCapabilityMajor INTEGER, computeCapabilityMinor INTEGER, coreClockRate INTEGER)",
        "INSERT INTO TARGET_INFO_CUDA_GPU VALUES (0, 'Tesla T4', 40, 7, 5, 1590000)",
    )


def two_machines(path: Path) -> None:
    change(
        path,
        "INSERT INTO TARGET_INFO_GPU (vmId, id, name, smCount) VALUES (2, 0, 'NVIDIA A100-SXM4-80GB', 108)",
    )


@pytest.mark.parametrize(
    ("doctor", "name", "sm_count", "has_peaks", "code"),
    [
        (slice_of_a_gpu, "NVIDIA H100 80GB HBM3", 132, False, "partial_gpu"),
        (table_of_early_2021, "Tesla T4", 40, True, None),
        (two_machines, None, None, False, "unknown_gpu"),
    ],
)
def test_peaks_belong_to_the_gpu_or_are_not_known(
    doctor: Callable[[Path], None], name: str | None, sm_count: int | None, has_peaks: bool, code: str | None,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = healthy(tmp_path)
    doctor(path)

    report = report_of(path)

    (device,) = report.trace.devices
    assert (device.name, device.sm_count) == (name, sm_count)
    assert (device.peaks_flops_per_s is not None) == has_peaks
    assert codes(report) & {"partial_gpu", "unknown_gpu"} == ({code} if code else set())


def test_a_gpu_is_the_machines_under_cuda_visible_devices(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process(100)
    process.thread().push(0, 50, "prefill").launch(10, gpu=(20, 30))
    trace.row("TARGET_INFO_CUDA_DEVICE", gpuId=1, cudaId=0, pid=100)
    path = trace.write(tmp_path / "trace.sqlite")

    (phase,) = report_of(path).phases

    assert [device.device_id for device in phase.devices] == [1]
    assert [device["device_id"] for device in summarize(attribute(path))["phases"]["prefill"]["devices"]] == [1]


# -- what a terminal must not obey -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hard_to_print(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, which the cache has after the first test."""
    folder = tmp_path_factory.mktemp("texts")
    return EDGE_TRACES["texts_that_are_hard_to_print"]().write(folder / "trace.sqlite")


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze"], ["analyze", "--list-ranges"], ["analyze", "--format", "markdown"], ["analyze", "--format", "json"],
        ["analyze", "--format", "html"], ["sql", "SELECT name FROM nvtx_ranges"], ["sql", "SELECT * FROM processes"],
    ],
)  # fmt: skip
def test_names_with_escapes_are_shown_not_obeyed(
    arguments: list[str], hard_to_print: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *rest = arguments

    code, out, err = run(capsys, verb, hard_to_print, *rest)

    assert (code, err) == (0, "")
    assert not set(out) & {"\x1b", "\x07", "\x9b"}


def test_rows_in_any_order_give_the_same_report(right: Report, tmp_path: Path) -> None:
    shuffled = small_trace().shuffled(Random(3)).write(tmp_path / "shuffled.sqlite")

    assert report_of(shuffled).totals == right.totals


def test_rows_may_have_negative_numbers(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    trace.process().thread().push(0, 50, "decode").launch(10, gpu=(20, 30)).launch(12, gpu=(20, 45), device=1)
    path = change(trace.write(tmp_path / "trace.sqlite"), "UPDATE NVTX_EVENTS SET rowid = -998")

    (phase,) = report_of(path).phases

    assert [device.gpu_busy_ns for device in phase.devices] == [10, 25]
