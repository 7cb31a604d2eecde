"""Phases inside each other: times with and without what is inside, by hand and by comparing all pairs of ranges."""

from __future__ import annotations

import json
from collections import defaultdict
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings

from nsys_pipeline.analyze import analyze
from nsys_pipeline.duck import records
from nsys_pipeline.report.formats import ReportFormat, render_document
from nsys_pipeline.report.json import render_json
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace import Trace, TraceOptions, open_trace
from tests.support.examples import examples
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder

EVERY_RANGE = TraceOptions(use_cache=False, phase_rules=(PhaseRule.of_ranges("."),))
BUSY = ("compute", "transfer", "wait", "copy")


def steps(folder: Path) -> Path:
    """Three steps of 100 ns; in each `attn` from 10 to 40, in that `core` from 20 to 30, and `mlp` from 50 to 90."""
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    for at in (0, 1000, 2000):
        thread.push(at, at + 100, "step")
        thread.push(at + 10, at + 40, "attn")
        thread.push(at + 20, at + 30, "core")
        thread.push(at + 50, at + 90, "mlp")
        thread.launch(at + 5, gpu=(at + 6, at + 8))
        thread.launch(at + 22, gpu=(at + 24, at + 36))
        thread.launch(at + 60, gpu=(at + 62, at + 82))
    return trace.write(folder / "trace.sqlite")


def tree(trace: Trace) -> dict[str, dict[str, Any]]:
    trace.build("views.phase_tree")
    return {row["path"]: row for row in records(trace.connection, "FROM views.phase_tree")}


def test_times_with_and_without_what_is_inside(tmp_path: Path) -> None:
    with open_trace(steps(tmp_path), EVERY_RANGE) as trace:
        rows = tree(trace)

    columns = ("occurrences", "wall_ns", "own_wall_ns", "busy_ns", "own_busy_ns", "kernel_count", "own_kernel_count")
    assert {path: tuple(row[name] for name in columns) for path, row in rows.items()} == {
        "step": (3, 300, 90, 102, 6, 9, 3),
        "step > attn": (3, 90, 60, 36, 0, 3, 0),
        "step > attn > core": (3, 30, 30, 36, 36, 3, 3),
        "step > mlp": (3, 120, 120, 60, 60, 3, 3),
    }
    assert rows["step > attn > core"]["parent_path"] == "step > attn"


def test_report_has_the_tree(tmp_path: Path) -> None:
    with open_trace(steps(tmp_path), EVERY_RANGE) as trace:
        report = analyze(trace)

    text, data = StringIO(), StringIO()
    render_document(report_document(report), text, ReportFormat.markdown)
    render_json(report, data)
    assert [row.path for row in report.phase_tree] == ["step", "step > mlp", "step > attn", "step > attn > core"]
    assert "ranges inside each other" in text.getvalue()
    assert [row["depth"] for row in json.loads(data.getvalue())["phase_tree"]] == [0, 1, 1, 2]


@settings(property_test, max_examples=examples(4))
@given(traces())
def test_random_trees_are_those_of_every_pair_of_ranges(trace: TraceBuilder) -> None:
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "trace.sqlite")
        with open_trace(path, EVERY_RANGE) as opened:
            rows = tree(opened)
            opened.build("attribute.occurrences", "attribute.occurrence_times", "attribute.phase_ranges")
            spans = records(
                opened.connection,
                "SELECT occurrence_id AS id, global_tid, phase, start_ns, end_ns, is_measured, kind "
                "FROM attribute.occurrences JOIN (SELECT occurrence_id, kind FROM attribute.phase_ranges) "
                "USING (occurrence_id)",
            )
            times = records(opened.connection, "FROM attribute.occurrence_times WHERE occurrence_id IS NOT NULL")

    expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    names = {span["id"]: _names(span, spans) for span in spans}
    for span in spans:
        around = names[span["id"]]
        for level in range(len(around)):
            if span["is_measured"]:
                expected[" > ".join(around[: level + 1])]["occurrences"] += level == len(around) - 1
    for row in times:
        around, kind = names[row["occurrence_id"]], "busy_ns" if row["class"] in BUSY else "idle_ns"
        for level in range(len(around)):
            expected[" > ".join(around[: level + 1])][kind] += row["time_ns"]
        expected[" > ".join(around)][f"own_{kind}"] += row["time_ns"]
    columns = ("occurrences", "busy_ns", "own_busy_ns", "idle_ns", "own_idle_ns")
    found = {path: {name: row[name] for name in columns} for path, row in rows.items()}
    if not _crosses(spans):
        assert found == {path: {name: row[name] for name in columns} for path, row in expected.items()}
    assert sum(row["own_busy_ns"] + row["own_idle_ns"] for row in rows.values()) == sum(row["time_ns"] for row in times)
    assert sum(row["wall_ns"] for row in rows.values() if row["depth"] == 0) == sum(
        row["own_wall_ns"] for row in rows.values()
    )


def _names(span: dict[str, Any], spans: list[dict[str, Any]]) -> list[str]:
    """Phases around `span` on its thread, the outermost first, and itself; start/end ranges nest in nothing."""
    if span["kind"] != "push_pop":
        return [span["phase"]]

    def order(one: dict[str, Any]) -> tuple[int, int, int]:
        return one["start_ns"], -one["end_ns"], one["id"]

    around = [
        one
        for one in spans
        if one["kind"] == "push_pop" and one["global_tid"] == span["global_tid"] and order(one) <= order(span)
        and one["end_ns"] >= span["end_ns"] and (one["end_ns"] > span["start_ns"] or one is span)
    ]  # fmt: skip
    return [one["phase"] for one in sorted(around, key=order)]


def _crosses(spans: list[dict[str, Any]]) -> bool:
    """Whether ranges of a thread do not nest, as those of two domains may."""
    return any(
        one["kind"] == other["kind"] == "push_pop" and one["global_tid"] == other["global_tid"]
        and one["start_ns"] < other["start_ns"] < one["end_ns"] < other["end_ns"]
        for one in spans for other in spans
    )  # fmt: skip
