"""A directory with a trace for each rank is one trace: the same numbers as if all had been recorded together."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.duck import records
from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.job_source import rank_of
from nsys_pipeline.trace.trace_file import TraceFile
from tests.support.small_trace import comparable_report
from tests.support.trace_builder import TraceBuilder

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
NO_CACHE = TraceOptions(use_cache=False)


def rank(
    trace: TraceBuilder,
    number: int,
    *,
    device: int | None = None,
    pid: int | None = None,
    clock: int = 0,
    names: str = "",
) -> TraceBuilder:
    """Two requests with an all-reduce in each. `clock` is what this recording's clock shows less than the others'."""
    device = number if device is None else device
    main = trace.process(100 + number if pid is None else pid).thread()
    main.push(100 - clock, 400 - clock, f"prefill{names}")
    main.launch(110 - clock, gpu=(120 - clock, 150 - clock), name=f"gemm{names}", device=device)
    for start, end in ((200 + 10 * number, 300), (500 + 20 * number, 600)):
        main.launch(start - 5 - clock, gpu=(start - clock, end - clock), name=ALL_REDUCE, device=device)
    main.memcpy(700 - clock, gpu=(710 - clock, 720 - clock))
    return trace


def gpus(trace: TraceBuilder, *uuids: str) -> TraceBuilder:
    for device, uuid in enumerate(uuids):
        trace.row("TARGET_INFO_GPU", id=device, name="NVIDIA H100 80GB HBM3", smCount=132, uuid=uuid, cuDevice=device)
    return trace


def started(trace: TraceBuilder, epoch_ns: int) -> TraceBuilder:
    trace.row("TARGET_INFO_SESSION_START_TIME", utcEpochNs=epoch_ns)
    return trace


def rows(path: Path, query: str, *targets: str) -> list[dict[str, Any]]:
    with open_trace(path, NO_CACHE) as trace:
        trace.build(*targets)
        return records(trace.connection, query)


def test_ranks_of_one_host_are_what_they_would_be_in_one_recording(tmp_path: Path) -> None:
    # given the same job recorded once as a whole, and once rank by rank, the second of which starts 40 ns later
    whole = started(gpus(TraceBuilder(), "a", "b"), 1_000)
    rank(rank(whole, 0), 1).write(tmp_path / "whole.sqlite")
    job = tmp_path / "job"
    job.mkdir()
    rank(started(gpus(TraceBuilder(), "a", "b"), 1_000), 0).write(job / "trace-rank0.sqlite")
    rank(started(gpus(TraceBuilder(), "a", "b"), 1_040), 1, clock=40).write(job / "trace-rank1.sqlite")

    one, many = comparable_report(tmp_path / "whole.sqlite"), comparable_report(job)

    assert many["totals"] == one["totals"]
    assert many["phases"] == one["phases"]
    assert many["unattributed"] == one["unattributed"]
    assert many["kernels"] == one["kernels"]
    assert all(check["passed"] for check in many["checks"])
    query = "SELECT device_id, number, wait_ns, transfer_ns FROM attribute.collectives ORDER BY ALL"
    assert rows(job, query, "attribute.collectives") == rows(tmp_path / "whole.sqlite", query, "attribute.collectives")
    assert [row["wait_ns"] for row in rows(job, query, "attribute.collectives")] == [10, 20, 0, 0]


def test_hosts_are_told_apart_and_their_clocks_aligned_on_collectives(tmp_path: Path) -> None:
    # given two hosts with equal pids and GPU numbers; the second one's clock is wrong by 5 s, and its strings differ
    rank(started(gpus(TraceBuilder(), "a"), 10**18), 0, device=0, pid=100).write(tmp_path / "out.0.sqlite")
    other = started(gpus(TraceBuilder(), "b"), 10**18 + 5 * 10**9)
    other.string("shifts every id")
    rank(other, 1, device=0, pid=100).write(tmp_path / "out.1.sqlite")

    ranks = rows(tmp_path, "FROM load.ranks ORDER BY rank", "load.ranks")
    waits = rows(
        tmp_path, "SELECT device_id, number, wait_ns FROM attribute.collectives ORDER BY ALL", "attribute.collectives"
    )
    kernels = rows(
        tmp_path,
        "SELECT device_id, count(*) AS n FROM attribute.gpu_work WHERE kind = 'kernel' GROUP BY ALL ORDER BY ALL",
        "attribute.gpu_work",
    )

    assert [(one["rank"], one["host_id"], one["device_ids"], one["clock_error_ns"]) for one in ranks] == [
        (0, 0, [0], 0), (1, 1, [1], 0),
    ]  # fmt: skip
    assert [(one["device_id"], one["number"], one["wait_ns"]) for one in waits] == [
        (0, 1, 10), (0, 2, 20), (1, 1, 0), (1, 2, 0),
    ]  # fmt: skip
    assert [(one["device_id"], one["n"]) for one in kernels] == [(0, 3), (1, 3)]
    (told,) = rows(tmp_path, "SELECT moved FROM findings.clocks_aligned", "findings.clocks_aligned")
    assert "they were moved by up to 5,000.0 ms" in told["moved"]


def test_samples_of_the_gpus_of_many_hosts_are_told_apart(tmp_path: Path) -> None:
    # given more GPUs than a byte counts on the first host, and samples of GPU 0 of the second one
    first = rank(started(gpus(TraceBuilder(), *(f"a{number}" for number in range(300))), 10**18), 0, device=44)
    first.write(tmp_path / "out.0.sqlite")
    second = rank(started(gpus(TraceBuilder(), "b"), 10**18), 1, device=0)
    kind = 1 << 48
    second.row("TARGET_INFO_GPU_METRICS", typeId=kind, sourceId=kind, metricId=0, metricName="SMs Active")
    for at in (100, 200, 300):
        second.row("GPU_METRICS", timestamp=at, typeId=kind, metricId=0, value=50)
    second.write(tmp_path / "out.1.sqlite")

    sampled = rows(tmp_path, "SELECT DISTINCT lane FROM load.counter_samples", "load.counter_samples")
    phases = rows(tmp_path, "SELECT device_id FROM attribute.phase_counters", "attribute.phase_counters")

    assert [row["lane"] for row in sampled] == [300]
    assert [row["device_id"] for row in phases] == [300]


def test_a_host_without_common_collectives_has_an_unknown_clock(tmp_path: Path) -> None:
    for number, uuid in enumerate("ab"):
        trace = gpus(TraceBuilder(), uuid)
        trace.process(100).thread().launch(1, gpu=(2, 3))
        trace.write(tmp_path / f"trace-rank{number}.sqlite")

    found = rows(tmp_path, "SELECT host_id, clock_error_ns FROM load.trace_files ORDER BY ALL", "load.trace_files")

    assert [tuple(row.values()) for row in found] == [(0, 0), (1, None)]


def test_strings_of_different_files_do_not_mix(tmp_path: Path) -> None:
    rank(gpus(TraceBuilder(), "a", "b"), 0).write(tmp_path / "trace-rank0.sqlite")
    rank(gpus(TraceBuilder(), "a", "b"), 1, names="_x").write(tmp_path / "trace-rank1.sqlite")

    found = rows(
        tmp_path,
        "SELECT device_id, value FROM attribute.gpu_work JOIN load.strings ON string_id = name_id "
        "WHERE starts_with(value, 'gemm') ORDER BY ALL",
        "attribute.gpu_work", "load.strings",
    )  # fmt: skip

    assert [tuple(row.values()) for row in found] == [(0, "gemm"), (1, "gemm_x")]


def test_damage_inside_a_file_leaves_that_rank_out(tmp_path: Path) -> None:
    for number in range(3):
        rank(gpus(TraceBuilder(), "a", "b", "c"), number).write(tmp_path / f"trace-rank{number}.sqlite")
    with closing(sqlite3.connect(tmp_path / "trace-rank1.sqlite")) as db, db:
        db.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 'never'")

    found = rows(
        tmp_path,
        "SELECT DISTINCT file_id, rank, problem IS NULL AS is_read FROM load.trace_files ORDER BY file_id",
        "load.gpu_ops", "load.trace_files",
    )  # fmt: skip

    assert [tuple(row.values()) for row in found] == [(1, 0, True), (2, 1, False), (3, 2, True)]
    assert comparable_report(tmp_path)["totals"]["kernel_count"] == 6


def test_a_recording_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    # given rank 0's trace again under the name of rank 1, the strings in it as another nsys exports them
    rank(started(gpus(TraceBuilder(), "a", "b"), 1_000), 0).write(tmp_path / "trace-rank0.sqlite")
    shutil.copy(tmp_path / "trace-rank0.sqlite", tmp_path / "trace-rank1.sqlite")
    with closing(sqlite3.connect(tmp_path / "trace-rank1.sqlite")) as con, con:
        con.execute("INSERT INTO StringIds (id, value) VALUES (99, 'new')")
    rank(started(gpus(TraceBuilder(), "a", "b"), 1_000), 2, device=1).write(tmp_path / "trace-rank2.sqlite")

    found = rows(
        tmp_path,
        "SELECT rank, problem, (SELECT count(*) FROM load.gpu_ops) AS count FROM load.trace_files ORDER BY rank",
        "load.trace_files", "load.gpu_ops",
    )  # fmt: skip

    twice = "it is the recording in `trace-rank0.sqlite` once more"
    assert [tuple(row.values()) for row in found] == [(0, None, 8), (1, twice, 8), (2, None, 8)]


def test_no_readable_file_is_an_error(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"trace-rank{number}.sqlite").write_bytes(b"")

    with pytest.raises(TraceError, match="is empty"):
        comparable_report(tmp_path)


def test_a_cached_job_is_read_again_when_a_rank_changes(tmp_path: Path) -> None:
    options = TraceOptions(cache_dir=tmp_path / "cache")
    job = tmp_path / "job"
    job.mkdir()
    for number in range(2):
        rank(gpus(TraceBuilder(), "a", "b"), number).write(job / f"trace-rank{number}.sqlite")
    first = comparable_report(job, options)
    (job / "report.html").write_text("a report beside the traces changes nothing")
    with open_trace(job, options) as trace:
        assert trace.is_cached
    assert comparable_report(job, options) == first

    shutil.copy(job / "trace-rank0.sqlite", tmp_path / "copy.sqlite")
    (job / "trace-rank1.sqlite").unlink()
    rank(rank(gpus(TraceBuilder(), "a", "b"), 1), 1).write(job / "trace-rank1.sqlite")

    assert comparable_report(job, options)["totals"]["kernel_count"] == first["totals"]["kernel_count"] + 3


def test_a_cached_job_says_what_the_cold_one_says_without_a_look_at_its_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ranks of four, one of them damaged inside: who lacks, who is left out and who is late is in the cache."""
    job = tmp_path / "job"
    job.mkdir()
    for number in range(3):
        trace = gpus(TraceBuilder(), "a", "b", "c")
        rank(trace, number)
        trace.process(100 + number).thread().mark(
            1, f'llmperf.run {{"v":1,"rank":{number},"world":4}}', domain="llmperf"
        )
        trace.write(job / f"trace-rank{number}.sqlite")
    with closing(sqlite3.connect(job / "trace-rank1.sqlite")) as db, db:
        db.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 'never'")
    options = TraceOptions(cache_dir=tmp_path / "cache")
    cold = comparable_report(job)
    assert comparable_report(job, options) == cold

    monkeypatch.setattr(TraceFile, "source", forbidden)
    monkeypatch.chdir(job)

    assert comparable_report(Path("../job"), options) == cold
    assert {"trace_left_out", "ranks_missing"} <= {finding["code"] for finding in cold["findings"]}
    with open_trace(job, options) as opened:
        opened.build("views.ranks")
        assert [row["path"] for row in records(opened.connection, "FROM views.ranks ORDER BY rank")] == [
            str(job / f"trace-rank{number}.sqlite") for number in (0, 2)
        ]


def forbidden(*_: object) -> None:
    raise AssertionError("the traces were opened")


def test_a_rank_that_no_nsys_could_export_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lack of nsys leaves out is not kept: it may be installed tomorrow."""
    job = tmp_path / "job"
    job.mkdir()
    for number in range(2):
        rank(gpus(TraceBuilder(), "a", "b"), number).write(job / f"trace-rank{number}.sqlite")
    (job / "trace-rank1.sqlite").rename(tmp_path / "exported.sqlite")
    (job / "trace-rank1.nsys-rep").write_bytes(b"NVIDIA Tegra Profiler Report")
    options = TraceOptions(cache_dir=tmp_path / "cache", nsys=str(tmp_path / "absent"))

    def codes() -> set[str]:
        return {finding["code"] for finding in comparable_report(job, options)["findings"]}

    assert "trace_left_out" in codes()
    with open_trace(job, options) as trace:
        assert not trace.is_cached
    monkeypatch.setattr(TraceFile, "_export", lambda _: tmp_path / "exported.sqlite")
    assert "trace_left_out" not in codes()
    with open_trace(job, options) as trace:
        assert trace.is_cached


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trace-rank10.sqlite", 10), ("report.3.nsys-rep", 3), ("h100_rank_2.sqlite.xz", 2), ("trace.sqlite", None),
        ("node1-rank7.sqlite", 7),
    ],
)  # fmt: skip
def test_a_rank_is_read_from_the_name(name: str, expected: int | None) -> None:
    assert rank_of(Path(name)) == expected


def test_a_folder_of_unlike_names_is_no_job(tmp_path: Path) -> None:
    for name in ("base.sqlite", "new.sqlite"):
        TraceBuilder().gpu().write(tmp_path / name)

    with pytest.raises(TraceError, match="2 traces whose names do not say that they are the ranks"):
        open_trace(tmp_path)


def test_a_rank_that_died_does_not_wait_for_the_others_to_end(tmp_path: Path) -> None:
    # given rank 1 whose recording ends inside of a backward, long before that of rank 0
    for number, last in ((0, 9_000), (1, 3_000)):
        trace = gpus(TraceBuilder(), "a", "b")
        main = trace.process(100 + number).thread()
        for start in range(1_000, last + 1, 2_000):
            is_cut = number == 1 and start == last
            main.push(start, None if is_cut else start + 1_000, "backward")
            main.launch(start + 10, gpu=(start + 20, start + 400), device=number)
        trace.write(tmp_path / f"trace-rank{number}.sqlite")

    query = "SELECT process_id, sum(wall_ns)::BIGINT AS ns FROM views.phases GROUP BY ALL ORDER BY ALL"
    found = rows(tmp_path, query, "views.phases")

    # of the second one, what its last call says
    assert [tuple(row.values()) for row in found] == [(100, 5_000), (101, 1_000 + 12)]


def test_two_real_ranks_of_which_one_sleeps() -> None:
    # given FSDP2 with checkpointing on two H200, a trace for each rank; rank 1 sleeps 30 ms before each of six forwards
    job = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_fsdp_slow_rank"

    report = comparable_report(job)
    ranks = rows(
        job,
        "SELECT rank, world, host_id, collectives, wait_ns, blamed_ns FROM views.ranks ORDER BY rank",
        "views.ranks",
    )

    late = {one["phase"]: one["message"] for one in report["findings"] if one["code"] == "late_rank"}
    assert "for rank 1" in late["forward"]
    assert [(one["rank"], one["world"], one["host_id"], one["collectives"]) for one in ranks] == [
        (0, 2, 0, 162), (1, 2, 0, 162),
    ]  # fmt: skip
    assert [round(one["wait_ns"] / 1e6, 1) for one in ranks] == [286.9, 183.0]
    assert ranks[0]["blamed_ns"] == ranks[1]["wait_ns"]
    assert all(check["passed"] for check in report["checks"])


@pytest.mark.parametrize("uuid", [None, "GPU-1"])
@pytest.mark.parametrize("has_session", [False, True])
def test_recordings_of_one_process_that_do_not_say_the_hour(
    uuid: str | None, has_session: bool, tmp_path: Path
) -> None:
    """A capture range that repeats, from an nsys that counts from its own start, or says nothing of when it began."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for number in (1, 2):
        trace = TraceBuilder().gpu().session(80)
        main = trace.process(777).thread()
        for at in range(0, 80, 20):
            main.push(at, at + 18, "decode").launch(at + 1, gpu=(at + 2, at + 15 + number))
        path = trace.write(folder / f"run.{number}.sqlite")
        began = number * 60_000 if has_session else None
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE TARGET_INFO_GPU SET uuid = ?", [uuid])
            connection.execute("UPDATE ANALYSIS_DETAILS SET startTime = ?", [began])
            connection.execute("UPDATE ANALYSIS_DETAILS SET stopTime = startTime + 80")

    with open_trace(folder, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)

    # Without an identity of the GPU and without any time, they may as well be ranks on two hosts.
    assert len(report.trace.devices) == (1 if uuid or has_session else 2)
    (decode,) = report.phases
    assert decode.occurrences == 8
    # the time between the two is nobody's
    assert decode.wall_ns == 8 * 18
