"""Sections of the report, by hand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.report.document import Section, Table
from nsys_pipeline.report.sections import PAGE_SECTIONS, SECTIONS, report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def section_of(trace: TraceBuilder, folder: Path, name: str) -> Section:
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        document = report_document(analyze(opened))
    (found,) = [section for section in document.sections if section.name == name]
    return found


def requests(*lengths: int) -> TraceBuilder:
    """Requests whose prefill takes so many ms, and whose two decode steps take twice that."""
    trace = TraceBuilder()
    main = trace.process().thread()
    at = 0
    for length in lengths:
        ns = length * 1_000_000
        main.push(at, at + 4 * ns, "request").push(at, at + ns, "prefill")
        for step in (1, 2):
            main.push(at + step * ns + 1, at + (step + 1) * ns, "decode")
        at += 10 * ns
    return trace


def test_repeated_requests_tell_how_much_they_differ(tmp_path: Path) -> None:
    section = section_of(requests(10, 20, 30), tmp_path, "requests")

    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [column.heading for column in table.columns] == ["shape", "n", "TTFT p50", "±", "TPOT p50", "±"]
    # The sample standard deviation of 10, 20 and 30 is 10.
    assert table.rows == [("–", "3", "20.0", "10.0", "20.0", "10.0")]
    assert section.title.endswith("±: standard deviation")


def test_a_single_request_differs_from_nothing(tmp_path: Path) -> None:
    section = section_of(requests(10), tmp_path, "requests")

    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [column.heading for column in table.columns] == ["shape", "n", "TTFT p50", "TPOT p50"]


@pytest.mark.parametrize("make", [*SECTIONS, *PAGE_SECTIONS], ids=lambda make: make.__name__)
def test_the_documentation_of_the_page_names_each_section(make: object) -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "page.md").read_text(encoding="utf-8")
    rows = [
        line.split(" | ")[0].removeprefix("| ").split(", ") for line in document.splitlines() if line.startswith("| ")
    ]
    names = re.findall(r'Section\(\s*"([^"]+)"', inspect.getsource(make))  # type: ignore[arg-type]

    assert names
    assert set(names) <= {name for row in rows for name in row}
