"""The brute-force reference itself, checked by hand: every number here was worked out on paper from the edge trace."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.edge_traces import EDGE_TRACES
from tests.support.nsys_schema import GENERATIONS
from tests.support.reference import (
    Attributed,
    attribute,
    busy_ns,
    by_device,
    occurrence_rows,
    phase_name,
    span_ns,
    summarize,
)
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder, global_tid

# Where each GPU operation belongs, kernels first, then copies, memsets and graphs, each in file order.
EXPECTED = {
    "two_processes_with_equal_correlation_ids": ["prefill#0", "decode#0"],
    "one_pid_in_two_virtual_machines": ["prefill#0", "decode#0"],
    "one_name_on_two_threads": ["decode#0", "decode#1"],
    "autograd_thread": ["forward#0", "backward#0 other_thread", "backward#0 other_thread", "step#0 other_thread"],
    "other_thread_with_two_open_phases": ["no_range"],
    "other_process_with_an_open_phase": ["no_range"],
    "pid_that_was_used_twice": ["prefill#0", "prefill#0", "decode#0", "decode#0"],
    "ids_with_all_bits": ["prefill#0", "decode#0"],
    "process_without_a_name": ["prefill#0"],
    "three_deep_in_two_domains": ["no_phase", "prefill#0", "prefill#0", "prefill#0"],
    "phase_inside_a_phase": ["decode#0", "prefill#0"],
    "forward_inside_prefill": ["prefill#0", "forward#0"],
    "loops_around_steps": [
        "decode#0", "decode#1", "decode#2", "prefill#0", "no_phase", "no_phase", "no_phase",
    ],
    "start_end_range_around_steps": ["decode#0", "no_phase", "prefill#1 start_end"],
    "our_own_mark_and_another": ["decode#0", "decode#1", "prefill#0"],
    "steps_of_an_engine": ["verify#0", "decode#0", "decode#1", "prefill#0"],
    "rest_of_a_step": ["forward#0", "backward#0", "forward#1", "backward#1", "step#0", "no_range"],
    "step_inside_the_optimizer": ["forward#0", "optimizer#0"],
    "step_that_starts_with_its_part": ["forward#0", "step#0"],
    "warmup_without_phases": [
        "warmup#0", "warmup#0", "warmup#0", "no_phase", "prefill#0", "warmup#1", "prefill#1",
    ],
    "data_loader_with_ranges": ["optimizer#0", "no_phase", "no_phase", "no_phase", "no_range"],
    "helper_with_a_range": ["no_phase", "prefill#0 other_thread", "prefill#0 other_thread"],
    "libraries_on_another_thread": ["backward#0 other_thread"] * 3,
    "autograd_by_name_and_by_range": ["backward#0 other_thread"] * 2,
    "checkpointed_forward": ["forward#0", "backward#0", "backward#0 other_thread", "backward#0 other_thread"],
    "other_engine_beside_a_backward": ["backward#0", "forward#0", "forward#1", "no_range"],
    "ranges_of_two_domains_that_cross": ["decode#0", "no_phase"],
    "a_range_starts_in_the_nanosecond_in_which_a_phase_ends": ["prefill#0", "no_phase"],
    "ranges_that_touch": ["prefill#0", "decode#0", "decode#0", "no_range"],
    "ranges_that_start_together": ["decode#0", "prefill#0"],
    "pushes_that_were_never_popped": ["prefill#0", "no_range", "decode#0"],
    "lost_pop_beside_a_sibling_and_under_another_domain": ["decode#0", "speculate#0", "speculate#0"],
    "start_end_ranges_are_an_overlay": ["decode#0 start_end", "prefill#0", "decode#0 start_end", "no_phase"],
    "start_end_range_that_ends_on_another_thread": ["decode#0 start_end", "decode#0 other_thread"],
    "warmup_of_our_own_domain": ["no_phase", "prefill#0", "decode#0", "prefill#1"],
    "warmup_of_another_thread": ["prefill#0", "prefill#1", "prefill#2"],
    "spellings_of_other_people": [
        "prefill#0", "prefill#1", "prefill#2", "prefill#3", "decode#0", "decode#1", "decode#2", "forward#0",
        "optimizer#0", "no_phase", "no_phase", "no_phase",
    ],
    "user_phases_in_our_domain": ["speculate#0", "no_phase", "no_phase", "decode#0"],
    "marks_are_no_ranges": ["no_range"],
    "kernel_ends_after_its_range": ["prefill#0", "decode#0"],
    "call_that_ends_after_its_range": ["prefill#0"],
    "overlapping_streams_on_two_devices": ["decode#0", "decode#0", "decode#0", "decode#0"],
    "work_of_every_kind": ["prefill#0", "prefill#0", "prefill#0", "prefill#0"],
    "only_copies": ["no_range", "no_api_call"],
    "migrations_of_unified_memory": ["prefill#0", "no_api_call", "no_api_call", "no_api_call"],
    "work_before_the_session": ["prefill#0", "prefill#0"],
    "times_since_1970": ["prefill#0", "decode#0"],
    "a_thousand_streams": ["decode#0"] * 1100,
    "work_without_an_api_call": ["prefill#0", "no_api_call", "no_api_call", "no_api_call"],
    "launch_outside_any_range": ["no_range", "no_range", "no_phase", "no_range"],
    "backtrace_duplicates": ["decode#0", "decode#0"],
    "correlation_id_zero": ["prefill#0", "no_api_call"],
    "call_that_ends_before_it_starts": ["prefill#0", "prefill#0"],
    "graph_of_copies_traced_both_ways": ["decode#0", "decode#0"],
    "graph_traced_as_a_whole": ["prefill#0", "decode#0"],
    "graph_traced_by_node": ["decode#0", "decode#0", "decode#0"],
    "graph_traced_both_ways": ["decode#0", "decode#0", "decode#0"],
    "graph_created_at_a_negative_time": ["decode#0", "decode#0"],
    "no_global_pid": ["no_phase", "prefill#0", "prefill#0", "prefill#0"],
    "no_global_pid_and_two_processes": ["no_api_call", "no_api_call"],
    "no_ranges_at_all": ["no_range"],
    "no_gpu_work_at_all": [],
    "nothing_at_all": [],
    "text_that_is_not_utf8": ["prefill#0"],
    "texts_that_are_hard_to_print": ["prefill#0"] * 5,
    "registered_and_plain_strings": ["prefill#0", "decode#0"],
    **{f"nsys_{schema}": ["prefill#0", "decode#0", "no_range", "prefill#0"] for schema in GENERATIONS},
}  # fmt: skip


def write(name: str, folder: Path) -> Path:
    return EDGE_TRACES[name]().write(folder / f"{name}.sqlite")


def label(item: Attributed) -> str:
    if item.occurrence is None:
        return str(item.reason)
    rule = "" if item.how == "same_thread" else f" {item.how}"
    return f"{item.occurrence.phase}#{item.occurrence.index}{rule}"


def test_every_edge_trace_has_an_expectation() -> None:
    assert set(EXPECTED) == set(EDGE_TRACES)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_operation_is_where_it_belongs(name: str, tmp_path: Path) -> None:
    assert [label(item) for item in attribute(write(name, tmp_path)).work] == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("autograd_thread", ["forward#0", "no_range", "no_phase", "no_range"]),
        ("start_end_range_that_ends_on_another_thread", ["decode#0 start_end", "no_range"]),
        ("start_end_ranges_are_an_overlay", ["decode#0 start_end", "prefill#0", "decode#0 start_end", "no_phase"]),
    ],
)
def test_strict_leaves_out_only_what_another_thread_launched(name: str, expected: list[str], tmp_path: Path) -> None:
    assert [label(item) for item in attribute(write(name, tmp_path), strict=True).work] == expected


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("strict", [False, True])
def test_parts_and_rest_make_the_whole(name: str, strict: bool, tmp_path: Path) -> None:
    summary = summarize(attribute(write(name, tmp_path), strict=strict))

    for key, total in summary["totals"].items():
        parts = [part[key] for part in (*summary["phases"].values(), *summary["unattributed"].values())]
        assert sum(parts) == total, key


def test_innermost_range_is_named_over_all_domains(tmp_path: Path) -> None:
    work = attribute(write("three_deep_in_two_domains", tmp_path)).work

    assert [item.range.text if item.range else None for item in work] == [
        "request",
        "prefill",
        "layer.0.attn",
        "ncclAllReduce",
    ]


def test_a_backtrace_row_is_not_the_call(tmp_path: Path) -> None:
    # Given a copy of the call's row that, unlike the call, lies before every range.
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(10, 50, "decode").launch(12, gpu=(20, 30), correlation=9)
    trace.row(
        "CUPTI_ACTIVITY_KIND_RUNTIME",
        start=5,
        end=6,
        eventClass=67,
        globalTid=main.global_tid,
        correlationId=9,
        nameId=1,
    )

    [item] = attribute(trace.write(tmp_path / "t.sqlite")).work

    assert label(item) == "decode#0"
    assert item.call is not None
    assert item.call.start == 12


def test_sums_of_overlapping_streams_on_two_devices(tmp_path: Path) -> None:
    attribution = attribute(write("overlapping_streams_on_two_devices", tmp_path))

    assert by_device([item.work for item in attribution.work]) == [
        {
            "process_id": 100, "device_id": 0, "kernel_count": 3, "kernel_time_ns": 60, "memop_count": 0,
            "memop_time_ns": 0, "graph_launch_count": 0, "graph_time_ns": 0, "gpu_busy_ns": 50, "gpu_span_ns": 60,
        },
        {
            "process_id": 100, "device_id": 1, "kernel_count": 1, "kernel_time_ns": 30, "memop_count": 0,
            "memop_time_ns": 0, "graph_launch_count": 0, "graph_time_ns": 0, "gpu_busy_ns": 30, "gpu_span_ns": 30,
        },
    ]  # fmt: skip


def test_summary_of_a_trace_with_every_kind_of_work(tmp_path: Path) -> None:
    nothing = {
        "kernel_count": 0, "kernel_time_ns": 0, "memop_count": 0, "memop_time_ns": 0, "graph_launch_count": 0,
        "graph_time_ns": 0,
    }  # fmt: skip
    work = nothing | {"kernel_count": 2, "kernel_time_ns": 10, "memop_count": 2, "memop_time_ns": 8}
    busy = {"gpu_busy_ns": 18, "gpu_span_ns": 70}

    summary = summarize(attribute(write("work_of_every_kind", tmp_path)))

    assert summary == {
        "totals": work,
        "superseded_graph_rows": 0,
        "phases": {
            "prefill": {
                "occurrences": 1, "warmup_occurrences": 0, "wall_ns": 100, **work, "gpu_busy_ns": 18,
                "other_thread": nothing, "devices": [{"process_id": 100, "device_id": 0, **work, **busy}],
            },
            "decode": {
                "occurrences": 1, "warmup_occurrences": 0, "wall_ns": 60, **nothing, "gpu_busy_ns": 0,
                "other_thread": nothing, "devices": [],
            },
        },
        "unattributed": {},
    }  # fmt: skip


def test_other_thread_work_is_counted_in_the_phase_and_apart(tmp_path: Path) -> None:
    summary = summarize(attribute(write("autograd_thread", tmp_path)))

    backward = summary["phases"]["backward"]
    assert (backward["kernel_count"], backward["kernel_time_ns"]) == (2, 15)
    assert (backward["other_thread"]["kernel_count"], backward["other_thread"]["kernel_time_ns"]) == (2, 15)
    assert summary["phases"]["step"]["other_thread"]["kernel_time_ns"] == 5


def test_graph_row_of_a_launch_with_nodes_does_not_count(tmp_path: Path) -> None:
    summary = summarize(attribute(write("graph_traced_both_ways", tmp_path)))

    decode = summary["phases"]["decode"]
    assert (decode["kernel_count"], decode["kernel_time_ns"]) == (2, 30)
    assert (decode["graph_launch_count"], decode["graph_time_ns"]) == (1, 20)
    assert summary["superseded_graph_rows"] == 1


def test_whole_graph_is_work_of_the_launching_range(tmp_path: Path) -> None:
    decode = summarize(attribute(write("graph_traced_as_a_whole", tmp_path)))["phases"]["decode"]

    assert (decode["kernel_count"], decode["graph_launch_count"], decode["graph_time_ns"]) == (0, 1, 120)
    assert decode["gpu_busy_ns"] == 120


def test_unpopped_pushes_end_with_their_parent_or_the_session(tmp_path: Path) -> None:
    rows = occurrence_rows(attribute(write("pushes_that_were_never_popped", tmp_path)))

    assert [(row["phase"], row["start_ns"], row["wall_ns"]) for row in rows] == [
        ("prefill", 20, 80),
        ("decode", 200, 300),
    ]


def test_a_lost_pop_ends_with_its_parent_only(tmp_path: Path) -> None:
    rows = occurrence_rows(attribute(write("lost_pop_beside_a_sibling_and_under_another_domain", tmp_path)))

    assert [(row["phase"], row["start_ns"], row["wall_ns"]) for row in rows] == [
        ("prefill", 10, 10),
        ("decode", 20, 80),
        ("speculate", 30, 470),
    ]


def test_warm_up_is_a_matter_of_one_thread(tmp_path: Path) -> None:
    rows = occurrence_rows(attribute(write("warmup_of_another_thread", tmp_path)))

    assert [row["warmup"] for row in rows] == [True, False, True]


def test_occurrences_know_warm_up_and_their_own_sums(tmp_path: Path) -> None:
    rows = occurrence_rows(attribute(write("warmup_of_our_own_domain", tmp_path)))

    assert [(r["phase"], r["index"], r["warmup"], r["wall_ns"], r["kernel_time_ns"]) for r in rows] == [
        ("prefill", 0, True, 40, 10),
        ("decode", 0, True, 30, 5),
        ("prefill", 1, False, 50, 40),
    ]


@pytest.mark.parametrize(
    ("spans", "busy", "span"),
    [
        ([], 0, 0),
        ([(10, 30)], 20, 20),
        ([(10, 30), (20, 50)], 40, 40),
        ([(10, 50), (20, 30)], 40, 40),
        ([(10, 20), (40, 50)], 20, 40),
        ([(10, 20), (20, 30)], 20, 20),
        ([(-30, -10), (-20, 10)], 40, 40),
    ],
)
def test_busy_is_the_union_and_span_the_hull(spans: list[tuple[int, int]], busy: int, span: int) -> None:
    assert (busy_ns(reversed(spans)), span_ns(spans)) == (busy, span)


@pytest.mark.parametrize(
    ("domain", "text", "phase"),
    [
        ("llmperf", "prefill", "prefill"),
        ("llmperf", "Anything Else", "Anything Else"),
        ("llmperf", "request", None),
        ("llmperf", "warmup", None),
        ("llmperf", "layer.3.mlp", None),
        ("llmperf", "vision.tower", None),
        (None, "warmup", None),
        (None, "prefill", "prefill"),
        ("worker0", "DECODE", "decode"),
        (None, "[Decode] step 12", "decode"),
        (None, "prefills", None),
        (None, "redecode", None),
        (None, "forward_pass_builder", None),
        (None, None, None),
    ],
)
def test_phase_names(domain: str | None, text: str | None, phase: str | None) -> None:
    assert phase_name(domain, text) == phase


def test_global_ids_are_encoded_as_nsys_does() -> None:
    # The main thread of process 470 in a trace of nsys 2025.3.2, and that process.
    assert global_tid(470, 470) == 281482862002646
    assert global_tid(470) == 281482862002176
    with pytest.raises(ValueError, match="pid"):
        global_tid(1 << 24)


@pytest.mark.parametrize("schema", GENERATIONS)
def test_builder_writes_the_columns_of_its_generation(schema: str, tmp_path: Path) -> None:
    path = write(f"nsys_{schema}", tmp_path)

    with closing(sqlite3.connect(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        kernel = {row[1] for row in db.execute("PRAGMA table_info(CUPTI_ACTIVITY_KIND_KERNEL)")}
        copy = {row[1] for row in db.execute("PRAGMA table_info(CUPTI_ACTIVITY_KIND_MEMCPY)")}

    metadata = {"2020.3": set(), "2022.4": {"EXPORT_META_DATA"}}.get(schema, {"META_DATA_EXPORT"})
    assert tables & {"EXPORT_META_DATA", "META_DATA_EXPORT"} == metadata
    assert ("greenContextId" in kernel) == (schema >= "2024.2")
    assert ("graphId" in kernel) == (schema >= "2026.1")
    assert ("copyCount" in copy) == (schema >= "2025.3")


def belongings(path: Path, *, strict: bool = False) -> list[tuple[str, int, int, int | None, str]]:
    """What every operation is and where it belongs, independent of the order of rows."""
    work = attribute(path, strict=strict).work
    return sorted(((a.work.kind, a.work.start, a.work.end, a.work.process, label(a)) for a in work), key=str)


@property_test
@given(trace=traces())
def test_random_traces_are_conserved_with_and_without_the_other_thread_rule(trace: TraceBuilder) -> None:
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "t.sqlite")
        loose, strict = attribute(path), attribute(path, strict=True)

    assert len(loose.work) == len(strict.work)
    for one, other in zip(loose.work, strict.work, strict=True):
        if one.how == "other_thread":
            assert other.reason in ("no_range", "no_phase")
        else:
            assert one == other
    for item in loose.work:
        assert (item.occurrence is None) == (item.reason is not None)


@property_test
@given(trace=traces(schemas=("2025.3",)), random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(trace: TraceBuilder, random: Random) -> None:
    with TemporaryDirectory() as folder:
        first = belongings(trace.write(Path(folder) / "first.sqlite"))
        second = belongings(trace.shuffled(random).write(Path(folder) / "second.sqlite"))

    assert first == second
