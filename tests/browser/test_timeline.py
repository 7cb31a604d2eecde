"""The timeline in a real browser: exact times under the pointer, zoom, pan, keys, search, arrows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.detail import read_detail
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.browser.conftest import Opener
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

READY = "#timeline-stage[aria-busy=false]"
STAGE = "document.getElementById('timeline-stage').timeline"


def page_of(trace: Path, folder: Path) -> Path:
    path = folder / "report.html"
    with open_trace(trace, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)
        detail = read_detail(opened)
    with path.open("w", encoding="utf-8") as stream:
        render_report(report, stream, ReportFormat.html, detail=detail)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kernels that one thread launches in two phases."""
    folder = tmp_path_factory.mktemp("timeline")
    trace = TraceBuilder().gpu()
    main = trace.process(100).thread(name="main")
    main.push(1_000, 1_900, "request").push(1_100, 1_500, "prefill").push(1_600, 1_890, "decode")
    main.launch(1_110, gpu=(1_200, 1_450), name="gemm_a").launch(1_650, gpu=(1_700, 1_750), name="<b>rms_norm")
    return page_of(trace.write(folder / "trace.sqlite"), folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(TRACES / f"h100_llama1b{SUFFIX}", tmp_path_factory.mktemp("large"))


def opened(open_page: Opener, path: Path, **options: Any) -> Any:
    page = open_page(path, **options)
    page.wait_for_selector(READY)
    page.locator("#timeline-stage").scroll_into_view_if_needed()
    return page


def select(page: Any, name: str) -> None:
    page.evaluate(
        f"""name => {{
            const stage = {STAGE};
            const {{ header, name: names }} = stage.timeline;
            stage.select([...names].findIndex(each => header.names[each] === name), {{ reveal: true }});
            stage.draw();
        }}""",
        name,
    )


def point_at_selected(page: Any) -> tuple[float, float]:
    x, y = page.evaluate(
        f"""() => {{
            const place = {STAGE}.placeOf({STAGE}.selected);
            const box = document.getElementById('timeline-canvas').getBoundingClientRect();
            return [place.x + box.left, place.y + box.top];
        }}"""
    )
    return x, y


def view(page: Any) -> tuple[float, float]:
    seen = page.evaluate(f"({{ t0: {STAGE}.view.t0, t1: {STAGE}.view.t1 }})")
    return seen["t0"], seen["t1"]


def test_the_operation_under_the_pointer_is_told_to_the_nanosecond(open_page: Opener, small: Path) -> None:
    page = opened(open_page, small)
    select(page, "gemm_a")

    page.mouse.move(*point_at_selected(page))

    told = page.locator("#timeline-tip").inner_text()
    assert told.splitlines()[0] == "gemm_a"
    assert "250 ns from 200 ns" in told
    assert "in prefill" in told
    assert re.search(r"launched by cuda\w+, \d+ ns after its return", told)
    assert page.locator("#timeline-said").inner_text().startswith("gemm_a. gemm")


def test_names_are_text(open_page: Opener, small: Path) -> None:
    page = opened(open_page, small)
    select(page, "<b>rms_norm")

    page.mouse.move(*point_at_selected(page))

    assert page.locator("#timeline-tip strong").inner_text() == "<b>rms_norm"
    assert page.locator("#timeline b").count() == 0


def test_wheel_zooms_where_the_pointer_is_and_dragging_pans(open_page: Opener, large: Path) -> None:
    page = opened(open_page, large)
    page.get_by_role("button", name="everything").click()
    box = page.locator("#timeline-canvas").bounding_box()
    x, y = box["x"] + 168 + (box["width"] - 168) / 4, box["y"] + 12
    whole = view(page)
    at = whole[0] + (whole[1] - whole[0]) / 4

    page.mouse.move(x, y)
    page.mouse.click(x, y)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{STAGE}.view.t1 - {STAGE}.view.t0 < {whole[1] * 0.9}")

    t0, t1 = view(page)
    assert abs((at - t0) / (t1 - t0) - 0.25) < 0.01
    page.mouse.down()
    page.mouse.move(x - 50, y, steps=5)
    page.mouse.up()
    assert view(page)[0] - t0 == pytest.approx(50 * (t1 - t0) / (box["width"] - 168), rel=0.02)
    assert view(page)[1] - view(page)[0] == pytest.approx(t1 - t0)


def test_the_page_scrolls_unless_the_timeline_was_clicked(open_page: Opener, large: Path) -> None:
    page = opened(open_page, large, viewport={"width": 1000, "height": 500})
    box = page.locator("#timeline-canvas").bounding_box()
    before = view(page)

    page.mouse.move(box["x"] + 400, box["y"] + 12)
    page.mouse.wheel(0, -30)
    page.wait_for_timeout(100)

    assert view(page) == before


def test_keys(open_page: Opener, large: Path) -> None:
    page = opened(open_page, large)
    stage = page.locator("#timeline-stage")
    stage.focus()
    stage.press("0")
    t0, t1 = view(page)
    stage.press("+")
    assert view(page)[1] - view(page)[0] == pytest.approx(0.6 * (t1 - t0))
    stage.press("ArrowLeft")
    stage.press("-")

    stage.press("ArrowDown")
    first = page.locator("#timeline-said").inner_text()
    stage.press("ArrowDown")
    second = page.locator("#timeline-said").inner_text()
    stage.press(".")
    assert first
    assert len({first, second, page.locator("#timeline-said").inner_text()}) == 3
    stage.press("Enter")
    selected = page.evaluate(f"{STAGE}.timeline.end[{STAGE}.selected] - {STAGE}.timeline.start[{STAGE}.selected]")
    assert view(page)[1] - view(page)[0] == pytest.approx(max(100, selected) * 0.2 + selected)
    stage.press("Escape")
    assert page.locator("#timeline-said").inner_text() == ""


def test_search_counts_and_goes_from_one_to_the_next(open_page: Opener, large: Path) -> None:
    page = opened(open_page, large)
    search = page.locator("#timeline-search")

    search.fill("splitk")
    count = int(page.locator("#timeline-counted").inner_text().split()[0].replace(",", ""))
    search.press("Enter")
    first = page.evaluate(f"{STAGE}.timeline.start[{STAGE}.selected]")
    search.press("Enter")

    assert count > 100
    assert page.evaluate(f"{STAGE}.timeline.start[{STAGE}.selected]") > first
    assert "splitK" in page.locator("#timeline-said").inner_text()
    search.fill("no such thing")
    assert page.locator("#timeline-counted").inner_text() == "0 found"


def test_a_call_points_to_what_it_launched(open_page: Opener, small: Path) -> None:
    page = opened(open_page, small)
    select(page, "gemm_a")
    call = page.evaluate(f"{STAGE}.timeline.link[{STAGE}.selected] - 1")

    page.evaluate(f"{STAGE}.select({call})")

    assert page.locator("#timeline-said").inner_text().endswith("launched 1 operation")


def test_a_phase_is_one_choice_away(open_page: Opener, large: Path) -> None:
    page = opened(open_page, large)

    page.select_option("#timeline-place", label="prefill, longest")

    length = page.evaluate(f"{STAGE}.timeline.end[{STAGE}.selected] - {STAGE}.timeline.start[{STAGE}.selected]")
    assert page.locator("#timeline-said").inner_text().startswith("prefill ")
    assert view(page)[1] - view(page)[0] == pytest.approx(1.2 * length)


def test_a_browser_that_cannot_unpack_shows_everything_else_and_says_why(open_page: Opener, small: Path) -> None:
    page = open_page(small, script="delete window.DecompressionStream")

    assert "no DecompressionStream" in page.locator("#timeline-missing").inner_text()
    assert page.locator("#timeline-view").is_hidden()
    assert page.locator("#phases tbody tr").count() > 0


def test_a_page_that_is_not_shown_draws_when_it_is(open_page: Opener, small: Path) -> None:
    page = opened(open_page, small)
    frames = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    show = "display => { document.documentElement.style.display = display; }"

    page.evaluate(show, "none")
    page.evaluate(frames)
    page.evaluate(f"{STAGE}.draw()")
    page.evaluate(show, "")
    page.evaluate(frames)

    assert page.evaluate("document.getElementById('timeline-canvas').clientWidth") > 900


def test_what_is_printed_is_light(open_page: Opener, small: Path) -> None:
    # Read from a copy: Chromium warns of a canvas that is drawn to and read often.
    corner = """() => {
        const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
        copy.drawImage(document.getElementById('timeline-canvas'), -1, -1);
        return [...copy.getImageData(0, 0, 1, 1).data];
    }"""
    for options in ({"color_scheme": "dark"}, {}):
        page = opened(open_page, small, **options)
        if not options:
            page.get_by_role("button", name="Switch between light and dark").click()
            page.wait_for_function(f"{STAGE}.frames > 1")
        page.evaluate(f"{STAGE}.draw()")
        assert page.evaluate(corner) == [17, 22, 29, 255]
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 36, 48)"
        assert page.locator(".tools").is_hidden()
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(corner) == [255, 255, 255, 255]
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(corner) == [17, 22, 29, 255]


def test_damaged_bytes_are_said_to_be_damaged(open_page: Opener, small: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.html"
    text = small.read_text(encoding="utf-8")
    damaged.write_text(re.sub(r'(id="timeline-data">H4sI.{20}).{8}', r"\1AAAAAAAA", text), encoding="utf-8")

    page = open_page(damaged)

    page.wait_for_selector("#timeline-missing:not([hidden])")
    assert "cannot be shown" in page.locator("#timeline-missing").inner_text()


def test_the_largest_trace_fits_a_small_page(large: Path) -> None:
    assert large.stat().st_size < 6_000_000
