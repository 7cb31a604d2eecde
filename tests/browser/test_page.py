"""The page in a real browser: it sorts, searches, changes its colours, and loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.cli.demo import DEMO_TRACE
from nsys_pipeline.report.document import Column, Document, Section, Table
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.browser.conftest import Opener
from tests.browser.test_timeline import page_of
from tests.support.real_traces import SUFFIX, TRACES
from tests.unit.report.test_formats_agree import hostile_document, in_html, nested_document


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    with open_trace(DEMO_TRACE, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
    with path.open("w", encoding="utf-8") as stream:
        render_report(report, stream, ReportFormat.html)
    return path


@pytest.fixture(scope="module")
def chart_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(TRACES / f"h100_deepseek_layers{SUFFIX}", tmp_path_factory.mktemp("charts"))


def column(page: Any, table: str, index: int) -> list[str]:
    texts: list[str] = page.eval_on_selector_all(
        f"#{table} table.data tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{index}].textContent)"
    )
    return texts


def test_a_table_sorts_by_exact_values_and_says_so(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page)
    heading = page.locator("#top-kernels thead th").nth(4)

    heading.get_by_role("button").click()

    times = [float(text.replace(",", "")) for text in column(page, "top-kernels", 4)]
    assert heading.get_attribute("aria-sort") == "descending"
    assert times == sorted(times, reverse=True)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [float(text.replace(",", "")) for text in column(page, "top-kernels", 4)] == sorted(times)
    # Nothing is hidden by its neighbour once the rows are in another order.
    assert page.evaluate("getComputedStyle(document.querySelector('#top-kernels .again')).color") != "rgba(0, 0, 0, 0)"


def test_unknown_values_come_last(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page)
    button = page.locator("#phases thead th").nth(8).get_by_role("button")

    for _ in range(2):
        button.click()
        assert set(column(page, "phases", 8)[2:]) == {""}


def test_a_search_leaves_the_rows_that_have_every_word(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page)

    page.get_by_role("searchbox", name="Search in top kernels").fill("NVJET decode")

    names = column(page, "top-kernels", 1)
    assert names
    assert all(name.startswith("nvjet") for name in names)
    assert page.locator("#top-kernels [role=status]").text_content() == f"{len(names)} of 15"


def test_light_and_dark(open_page: Opener, demo_page: Path) -> None:
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 22, 29)")):
        page = open_page(demo_page, color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        page.get_by_role("button", name="Switch between light and dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_only_tables_scroll_sideways(open_page: Opener, demo_page: Path, width: int) -> None:
    page = open_page(demo_page, viewport={"width": width, "height": 700})

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_section_is_in_the_bar_and_below_it(open_page: Opener, tmp_path: Path) -> None:
    """More sections than one row of links has room for; the title that a link leads to is not under the bar."""
    table = Table([Column.count("n", range(60))])
    names = [f"section number {number}" for number in range(14)]
    path = tmp_path / "sections.html"
    path.write_text(in_html(Document("t", (), tuple(Section(name, (table,)) for name in names))), encoding="utf-8")
    page = open_page(path, viewport={"width": 1280, "height": 700})

    edges = page.evaluate("[...document.querySelectorAll('nav a')].map(each => each.getBoundingClientRect().right)")
    assert len(edges) == len(names)
    assert max(edges) <= 1280

    page.locator("nav a").nth(9).click()
    bar, title = (page.locator(one).bounding_box() for one in ("nav", "h2 >> nth=9"))
    assert bar["y"] == 0
    assert bar["height"] <= title["y"] < 200


def test_numbers_of_what_is_worth_doing_are_beside_it(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page)

    number, text = (page.locator(f"#worth-doing .note {tag}").first.bounding_box() for tag in ("dt", "dd"))

    assert number["y"] == text["y"]
    assert 0 < text["x"] - number["x"] < 50


def test_without_javascript_every_table_is_there(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page, java_script_enabled=False)

    assert page.locator("#top-kernels tbody tr").count() == 15
    assert page.locator("#theme").is_hidden()
    assert page.get_by_role("heading", name="Checks").is_visible()


def test_hostile_names_run_nothing(open_page: Opener, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(in_html(hostile_document()), encoding="utf-8")

    page = open_page(path)

    assert page.locator("img").count() == 0
    assert page.locator("main a").count() == 0


def test_what_is_inside_is_indented(open_page: Opener, tmp_path: Path) -> None:
    path = tmp_path / "nested.html"
    path.write_text(in_html(nested_document()), encoding="utf-8")

    page = open_page(path)

    outer, inner = page.evaluate(
        """[...document.querySelectorAll('#range-tree tbody th')].map(cell => {
            const range = document.createRange();
            range.setStart(cell.firstChild, cell.textContent.search(/\\S/));
            range.setEnd(cell.firstChild, cell.textContent.length);
            return range.getBoundingClientRect().left;
        })"""
    )
    assert inner > outer + 4


def test_the_keyboard_reaches_everything(open_page: Opener, demo_page: Path) -> None:
    page = open_page(demo_page)

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    named = page.evaluate(
        """[...document.querySelectorAll('button, input, a')].filter(each =>
            !(each.textContent.trim() || each.getAttribute('aria-label')) || each.tabIndex < 0).length"""
    )
    assert named == 0


def test_charts_are_drawn_in_both_themes_and_told_in_tables(open_page: Opener, chart_page: Path) -> None:
    page = open_page(chart_page)

    count = page.locator(".chart").count()
    assert count > 1
    assert page.locator(".chart canvas").count() == count
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.locator(".chart canvas").count() == count
    first = page.locator(".values").first
    first.locator("summary").click()
    assert first.locator("tbody tr").count() > 1
    page.set_viewport_size({"width": 500, "height": 700})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 500


def test_a_page_tells_its_licenses(open_page: Opener, chart_page: Path) -> None:
    page = open_page(chart_page)

    page.get_by_text("Licenses of what is inside").click()
    assert "Copyright (c) 2022 Leon Sorokin" in page.locator("footer pre").inner_text()
