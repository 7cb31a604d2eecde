"""One document, every format: the same cells; and names that a program chose do no harm in any of them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from itertools import pairwise

import attrs
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from nsys_pipeline.analyze import analyze
from nsys_pipeline.cli.demo import DEMO_TRACE
from nsys_pipeline.records import Bound, Budget, Report
from nsys_pipeline.report import html, markdown, terminal
from nsys_pipeline.report.budget import budget_parts, budget_section
from nsys_pipeline.report.document import (
    BLANK,
    Bars,
    Column,
    Depth,
    Document,
    Kind,
    Message,
    Note,
    Notes,
    Section,
    Table,
)
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace

HOSTILE = "a|b `c` <img src=x> *d* [e](javascript:f) @g #7 &lt; https://h.i \\ _j_ $k$"


@pytest.fixture(scope="module")
def report() -> Report:
    with open_trace(DEMO_TRACE, TraceOptions(use_cache=False)) as trace:
        return analyze(trace)


def hostile_document() -> Document:
    table = Table(
        [
            Column.text("phase", [HOSTILE, "- x", "1. y"]),
            Column.name("kernel", [HOSTILE, "``", " "]),
            Column.count("n", [1, None, BLANK]),
        ]
    )
    notes = Notes([Note(HOSTILE, HOSTILE, lead=HOSTILE)])
    messages = Section(HOSTILE, (Message("warning", HOSTILE, HOSTILE),), depth=Depth.detail)
    return Document(HOSTILE, (HOSTILE,), (Section("s", (table, notes), title=HOSTILE), messages))


def nested_document() -> Document:
    table = Table([Column.text("range", ["outer", "  inner"]), Column.count("n", [1, 2])])
    return Document("nested", (), (Section("range tree", (table,)),))


def in_terminal(document: Document, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    terminal.render_document(document, stream)
    return stream.getvalue()


def in_markdown(document: Document) -> str:
    stream = io.StringIO()
    markdown.render_document(document, stream)
    return stream.getvalue()


def tables(document: Document, *, with_appendix: bool) -> list[Table]:
    return [
        block
        for section in document.sections
        if with_appendix or section.depth is not Depth.appendix
        for block in section.blocks
        if isinstance(block, Table)
    ]


def tokens(text: str) -> Iterator[Token]:
    """What GitHub would make of `text`, less its linkify and mentions."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def plain(token: Token) -> str:
    return "".join(each.content for each in token.children or ()).replace("\u200b", "")


def markdown_rows(text: str) -> list[list[str]]:
    rows: list[list[str]] = []
    last = ""
    for token in tokens(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and last in ("td_open", "th_open"):
            rows[-1].append(plain(token))
        last = token.type
    return rows


def test_a_range_inside_another_is_indented_in_markdown() -> None:
    shown = MarkdownIt("commonmark").enable("table").render(in_markdown(nested_document()))

    assert ">outer</td>" in shown
    assert ">\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}inner</td>" in shown


@pytest.mark.parametrize("width", [100, 160])
def test_a_terminal_shows_every_cell(report: Report, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    document = report_document(report)
    lines = {" ".join(line.split()) for line in in_terminal(document, width, monkeypatch).splitlines()}

    for table in tables(document, with_appendix=False):
        above: tuple[str, ...] | None = None
        for row in table.rows:
            cells = [
                "" if column.is_grouped and above and above[index] == cell else cell
                for index, (column, cell) in enumerate(zip(table.columns, row, strict=True))
            ]
            above = row
            assert " ".join(" ".join(cells).split()) in lines


def test_markdown_shows_every_cell(report: Report) -> None:
    document = report_document(report)
    rows = markdown_rows(in_markdown(document))

    for table in tables(document, with_appendix=True):
        assert [column.label for column in table.columns] in rows
        for row in table.rows:
            assert list(row) in rows


class Cells(HTMLParser):
    """Rows of a page's data tables, as a browser without JavaScript shows them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._is_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._is_cell = tag in ("td", "th") or (self._is_cell and tag == "code")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag == "code"

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


def in_html(document: Document) -> str:
    stream = io.StringIO()
    html.render_document(document, stream)
    return stream.getvalue()


def test_a_page_shows_every_cell(report: Report) -> None:
    document = report_document(report)
    rows = Cells(in_html(document)).rows

    for table in tables(document, with_appendix=True):
        assert [column.label for column in table.columns] in rows
        for row in table.rows:
            assert list(row) in rows


def test_hostile_names_add_no_element_to_a_page() -> None:
    harmless = attrs.evolve(hostile_document(), title="title", subtitles=("subtitle",))
    page, hostile = Cells(in_html(harmless)), Cells(in_html(hostile_document()))

    assert hostile.tags == page.tags
    assert "img" not in hostile.tags
    for row in tables(hostile_document(), with_appendix=True)[0].rows:
        assert list(row) in hostile.rows


def test_only_the_scripts_of_llmperf_may_run_in_a_page_and_nothing_is_loaded(report: Report) -> None:
    page = in_html(report_document(report))

    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; ")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']*)'", policy) == hashes
    assert scripts
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:,")[^"']*""", page) == []


def test_warm_up_is_counted_alike(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    document = report_document(report)
    decode = next(phase for phase in report.phases if phase.name == "decode")
    assert decode.warmup_occurrences

    (row,) = [row for row in markdown_rows(in_markdown(document)) if row[:2] == ["decode", "16"]]
    assert row[6] == f"{decode.kernel_count - decode.warmup_kernel_count:,}"
    assert " ".join(row) in " ".join(in_terminal(document, 160, monkeypatch).split())


def test_hostile_names_are_shown_and_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    document = hostile_document()
    text = in_markdown(document)

    (table,) = tables(document, with_appendix=True)
    rows = markdown_rows(text)
    for row in table.rows:
        assert [cell.strip() for cell in row] in rows
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {"link_open", "image", "em_open", "html_inline"}
    blocks = [token.content.strip() for token in tokens(text) if token.type == "html_block"]
    assert blocks == [f"<details><summary>{escape(HOSTILE)}</summary>", "</details>"]
    (heading,) = [token for token, above in pairwise(tokens(text)) if token.type == "heading_open"]
    assert heading.tag == "h3"
    # GitHub looks for these in the text, whatever is around them.
    words = " ".join(token.content for token in tokens(text) if token.type == "text")
    assert re.findall(r"@\w|#\d|https?:", words) == []
    # As it is: a terminal obeys none of it.
    assert HOSTILE in in_terminal(document, 2000, monkeypatch)


def test_control_characters_are_visible_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a\x1b[31m\u202eb\nc"
    table = Table([Column.name(name, [name])])
    document = Document(name, (name,), (Section(name, (table, Notes([Note(name, name)]))),))

    for text in (in_markdown(document), in_terminal(document, 200, monkeypatch)):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_columns_must_be_equally_long() -> None:
    with pytest.raises(ValueError, match="different length"):
        Table([Column.count("a", [1]), Column.count("b", [])])


def test_a_narrow_terminal_loses_optional_columns_and_the_middle_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "kernel_" + "x" * 60 + "_end"
    table = Table([Column.name("kernel", [name]), Column.count("n", [7]), Column.count("m", [8], is_optional=True)])
    document = Document("", (), (Section("s", (table,)),))

    wide, narrow = (in_terminal(document, width, monkeypatch).splitlines()[2].split() for width in (80, 40))
    assert wide == [name, "7", "8"]
    assert narrow[1:] == ["7"]
    assert narrow[0].startswith("kernel_x")
    assert narrow[0].endswith("x_end")
    assert "…" in narrow[0]
    assert [column.kind for column in table.columns] == [Kind.name, Kind.number, Kind.number]


BUDGET = Budget(compute_ns=40, copy_ns=5, launch_ns=15, sync_ns=10, host_ns=30)


def test_the_budget_falls_from_the_window_to_the_speed_of_light() -> None:
    parts = budget_parts(BUDGET, 25)

    assert {key: ns for key, ns in parts.items() if ns} == {
        "host": 30, "launch": 15, "sync": 10, "copy": 5, "kernels": 15, "sol": 25,
    }  # fmt: skip
    assert budget_parts(BUDGET, None)["compute"] == 40
    assert budget_parts(BUDGET, 1e9)["sol"] == 40  # at most what was computed


def test_every_bar_begins_where_the_one_above_ends(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    @attrs.frozen
    class WithBudget:
        name: str
        sol_ratio: float | None
        budget: Budget
        measured_busy_ns: int = 50
        is_partly_measured: bool = False
        sign: Bound | None = None

    @attrs.frozen
    class Budgets:
        phases: list[WithBudget]
        unattributed: WithBudget
        findings: tuple[()] = ()

    budgets = Budgets([WithBudget("prefill", 0.5, BUDGET)], WithBudget("outside", None, BUDGET))
    section = budget_section(budgets)  # type: ignore[arg-type]

    assert section is not None
    prefill, outside = (block for block in section.blocks if isinstance(block, Bars))
    whole, *steps = prefill.bars
    assert (whole.start, whole.length, prefill.whole) == (0, 100, 100)
    left = 100.0
    for bar in steps:
        assert bar.start + bar.length == left
        left = bar.start
    assert left == 0
    assert [bar.key for bar in outside.bars] == ["whole", "host", "launch", "sync", "copy", "compute"]
    text = in_terminal(Document("", (), (section,)), 80, monkeypatch)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(r"^  host code +\S+ +30\.0 +█+$", text, re.MULTILINE)
    assert "░" in in_markdown(Document("", (), (section,)))
    assert budget_section(report) is None or section.name == "budget"
