"""Windows: what is left is what was launched in them, step by whole step, against the brute-force attribution."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.session import Session
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.support import real_traces
from tests.support.ask import ask_session
from tests.support.budget_reference import budget
from tests.support.engine import engine_budget, engine_work, reference_work
from tests.support.examples import examples
from tests.support.reference import Attribution, attribute, read_trace
from tests.support.strategies import property_test, traces, windows
from tests.support.trace_builder import ThreadBuilder, TraceBuilder
from tests.support.window_reference import Kept

Totals = dict[str | None, tuple[int, int]]


def report_of(path: Path, window: Window | None, cache: Path | None = None) -> Report:
    with open_trace(path, TraceOptions(use_cache=cache is not None, cache_dir=cache, window=window)) as trace:
        report = analyze(trace)
    assert [check for check in report.checks if not check.passed] == []
    return report


def kernels(report: Report) -> Totals:
    found: Totals = {phase.name: (phase.kernel_count, phase.kernel_time_ns) for phase in report.phases}
    rest = report.unattributed
    if rest.kernel_count:
        found[None] = rest.kernel_count, rest.kernel_time_ns
    return {phase: each for phase, each in found.items() if each[0]}


def kept_of(path: Path, window: Window) -> tuple[Attribution, Kept]:
    attribution = attribute(path)
    return attribution, Kept.of(window, attribution, read_trace(path).ranges)


def expected(path: Path, window: Window) -> Totals:
    """By the definition, one operation after the other."""
    counts: Counter[str | None] = Counter()
    times: Counter[str | None] = Counter()
    for item in kept_of(path, window)[1].work:
        if item.work.kind == "kernel":
            phase = item.occurrence.phase if item.occurrence else None
            counts[phase] += 1
            times[phase] += item.work.end - item.work.start
    return {phase: (count, times[phase]) for phase, count in counts.items()}


def differences(path: Path, window: Window) -> dict[object, object]:
    """Phases, work and budget of what is left, where they are not what the definitions say of the whole trace."""
    attribution, kept = kept_of(path, window)
    options = TraceOptions(use_cache=False, window=window, infers=False)
    try:
        with open_trace(path, options) as trace:
            trace.describe(AnalysisOptions(keep_cold=True))
            times, windows, waits, _ = engine_budget(trace)
            work = engine_work(trace)
            rows = trace.connection.execute(
                "SELECT phase, occurrence, global_tid, start_ns, end_ns, wall_ns, is_warmup FROM attribute.phase_ranges"
            ).fetchall()
    except UsageError:
        return {"nothing is left": kept.occurrences} if kept.occurrences else {}
    found = {row[:2]: row[2:] for row in rows} | work | times | windows
    walked = budget(path, waits=waits, attribution=attribution, kept=kept)
    right: dict[Any, Any] = {
        (one.phase, number): (one.range.thread, one.range.start, one.range.end, one.wall_ns, one.warmup)
        for one, number in kept.numbers.items()
    }
    right |= reference_work(Attribution(list(kept.work), list(kept.occurrences)))
    right |= {
        (device, one and one.phase, one and kept.numbers[one], name): time
        for (device, one, name), time in walked.times.items()
        if time
    }
    right |= {(device,): time for device, time in walked.window_ns().items()}
    return {key: (found.get(key), right.get(key)) for key in found | right if found.get(key) != right.get(key)}


@settings(property_test, max_examples=examples(8))
@given(traces(), windows())
def test_a_window_of_a_random_trace_is_what_the_whole_trace_says_of_it(trace: TraceBuilder, window: Window) -> None:
    with TemporaryDirectory() as folder:
        assert differences(trace.write(Path(folder) / "trace.sqlite"), window) == {}


def training(main: ThreadBuilder) -> None:
    """Two steps of 100 ns, each with two passes and an optimizer of 10 ns, all of which launch a kernel."""
    for step in range(2):
        at = 1000 * step
        main.push(at, at + 100, "step")
        for start, name in ((10, "forward"), (30, "backward"), (50, "forward"), (70, "backward")):
            main.push(at + start, at + start + 10, name)
            main.launch(at + start + 1, gpu=(at + start + 5, at + start + 9))
        main.launch(at + 85, gpu=(at + 88, at + 95))


def test_a_step_around_passes_that_are_cut_has_only_its_own_time(tmp_path: Path) -> None:
    """Steps 1:2 of each phase: the second step, and the second pass of each kind, which is of the first step."""
    trace = TraceBuilder()
    training(trace.process().thread())
    path = trace.write(tmp_path / "trace.sqlite")
    report = report_of(path, Window(first_step=1, end_step=2))

    assert {one.name: (one.wall_ns, one.gpu_busy_ns) for one in report.phases} == {
        "forward": (10, 4), "backward": (10, 4), "step": (60, 7),
    }  # fmt: skip
    assert sum(report.windows_ns.values()) == 10 + 10 + 60


def test_a_loop_of_which_a_step_is_cut_is_no_step(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 500, "decode_loop")
    for start in (10, 110):
        main.push(start, start + 50, "decode").launch(start + 10, gpu=(start + 20, start + 40))
    main.launch(300, gpu=(310, 330))
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(from_ns=200))

    assert report.phases == []
    assert report.unattributed.kernel_count == 1


def test_work_of_another_thread_does_not_go_to_the_only_phase_that_is_left(tmp_path: Path) -> None:
    """Two threads have a phase open when a third one launches; the window begins behind the start of one."""
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(0, 500, "prefill").launch(10, gpu=(20, 30))
    process.thread(102).push(100, 500, "decode").launch(110, gpu=(120, 130))
    process.thread(103).launch(200, gpu=(210, 230))
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(from_ns=50))

    assert [(one.name, one.kernel_count) for one in report.phases] == [("decode", 1)]
    assert report.unattributed.kernel_count == 1


def test_a_request_that_began_before_the_window_is_none(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for start in (0, 1000):
        main.push(start, start + 500, "request")
        for at in (100, 200):
            main.push(start + at, start + at + 50, "prefill" if at == 100 else "decode")
            main.launch(start + at + 10, gpu=(start + at + 20, start + at + 40))
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(from_ns=50))

    assert [one.requests for one in report.requests] == [1]
    assert {one.name: one.occurrences for one in report.phases} == {"prefill": 2, "decode": 2}
    # two steps that stand alone, and a whole request
    assert sum(report.windows_ns.values()) == 2 * 50 + 500


def steps_and_more() -> TraceBuilder:
    """Six decode steps of 100 ns; a kernel in each that starts after the step, and one between steps."""
    trace = TraceBuilder()
    main = trace.process().thread()
    for index in range(6):
        at = 1000 * index
        main.push(at, at + 100, "decode").launch(at + 10, gpu=(at + 200, at + 300 + index))
        main.launch(at + 500, gpu=(at + 600, at + 610))
    return trace


@pytest.mark.parametrize(
    ("window", "decode", "outside"),
    [
        (Window(skip=4), 2, 2),
        (Window(first_step=1, end_step=3), 2, 1),
        (Window(from_ns=1000, to_ns=3000), 2, 2),
        (Window(from_ns=1001, to_ns=3001), 2, 2),  # the step that began before is not in it, the last one is whole
        (Window(from_ns=2505), 3, 3),
        (Window(from_ns=1000, skip=1, end_step=3), 2, 1),
    ],
)
def test_a_window_has_whole_steps_and_what_was_launched_in_it(
    window: Window, decode: int, outside: int, tmp_path: Path
) -> None:
    path = steps_and_more().write(tmp_path / "trace.sqlite")
    found = kernels(report_of(path, window))

    assert {phase: count for phase, (count, _) in found.items()} == {"decode": decode, None: outside}
    assert found == expected(path, window)


def test_requests_are_skipped_whole_and_warm_up_with_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 90, "warmup").push(5, 80, "request").push(10, 20, "prefill").launch(11, gpu=(12, 18))
    for index in range(3):
        at = 100 * (index + 1)
        main.push(at, at + 90, "request").push(at + 5, at + 20, "prefill").launch(at + 6, gpu=(at + 7, at + 19))
        for step in range(index + 1):
            main.push(at + 30 + 10 * step, at + 38 + 10 * step, "decode")
            main.launch(at + 31 + 10 * step, gpu=(at + 32 + 10 * step, at + 36 + 10 * step))
    path = trace.write(tmp_path / "trace.sqlite")
    report = report_of(path, Window(skip=1))

    assert {phase.name: (phase.occurrences, phase.warmup_occurrences) for phase in report.phases} == {
        "prefill": (2, 0), "decode": (5, 0),
    }  # fmt: skip
    assert [row.requests for row in report.requests] == [2]


def test_what_is_left_of_a_request_that_is_cut_is_not_of_the_one_around_it(tmp_path: Path) -> None:
    """The outer request has a decode step before the inner one, of whose two the second is cut."""
    trace, own = TraceBuilder(), "llmperf"
    main = trace.process().thread().push(0, 1000, "request", domain=own).push(100, 900, "request", domain=own)
    for start, name in ((10, "decode"), (110, "prefill"), (300, "decode"), (500, "decode")):
        main.push(start, start + 50, name, domain=own).launch(start + 1, gpu=(start + 5, start + 9))
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(end_step=2))

    assert {one.name: one.occurrences for one in report.phases} == {"prefill": 1, "decode": 2}


def test_time_that_is_cut_away_is_a_row_for_each_stretch(tmp_path: Path) -> None:
    """Not for each kernel in it: of long traces that took twice the memory of the whole analysis."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 500, 100):
        main.push(at, at + 100, "decode")
        for start in (10, 40, 70):
            main.launch(at + start, gpu=(at + start + 2, at + start + 12))

    options = TraceOptions(use_cache=False, window=Window(first_step=1, end_step=2))
    with open_trace(trace.write(tmp_path / "trace.sqlite"), options) as opened:
        opened.build("attribute._window_ranges")
        cut = opened.connection.execute(
            "SELECT start_ns, until_ns FROM attribute._window_ranges WHERE kind = 'cut' ORDER BY ALL"
        ).fetchall()

    assert cut == [(0, 100), (200, 500)]


def test_the_gpu_works_for_a_step_that_is_left_while_the_host_is_in_one_that_is_cut(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at, start, end in ((0, 5, 25), (10, 25, 55), (20, 55, 85)):
        main.push(at, at + 10, "decode").launch(at + 1, gpu=(start, end))
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(first_step=1, end_step=2))

    assert [(one.occurrences, one.gpu_busy_ns) for one in report.phases] == [(1, 30)]
    assert sum(report.windows_ns.values()) == 55 - 25


@pytest.mark.parametrize("name", ["h100_gpu_metrics", "h100_train"])
def test_windows_of_real_traces(name: str, tmp_path: Path) -> None:
    path = real_traces.unpack_by_name(name, tmp_path)
    starts = sorted(one.range.start for one in attribute(path).occurrences)
    middle = starts[len(starts) // 2]
    windows = [Window(first_step=1, end_step=3), Window(from_ns=middle - 1000), Window(to_ns=middle + 1)]
    for window in windows:
        assert kernels(report_of(path, window)) == expected(path, window)


def test_a_window_leaves_the_cache_as_it_is_and_every_view_is_of_it(tmp_path: Path) -> None:
    path, window = steps_and_more().write(tmp_path / "trace.sqlite"), Window(first_step=2, end_step=4)
    cache = tmp_path / "cache"
    whole = report_of(path, None)

    assert report_of(path, window, cache) == report_of(path, window, cache) == report_of(path, window)
    assert kernels(report_of(path, None, cache)) == kernels(whole)
    options = TraceOptions(cache_dir=cache, window=window)
    with Session.of(open_trace(path, options), None, close_off=False) as session:
        counts = [
            ask_session(session, f"SELECT count(*) AS n FROM {view}")
            for view in ("phases", "gpu_work", "kernels", "api_calls", "nvtx_ranges")
        ]
    assert counts == ["n\n2", "n\n3", "n\n3", "n\n3", "n\n2"]


@pytest.mark.parametrize(
    "window",
    [Window(skip=6), Window(first_step=9), Window(from_ns=9_000_000), Window(to_ns=0), Window(skip=5, end_step=3)],
)
def test_an_empty_window_is_an_error_with_what_there_is(window: Window, tmp_path: Path) -> None:
    path = steps_and_more().write(tmp_path / "trace.sqlite")

    with pytest.raises(UsageError, match="nothing is left") as caught:
        report_of(path, window)
    assert "6 of decode" in str(caught.value.hint)


@pytest.mark.parametrize("window", [Window(skip=1), Window(first_step=2, end_step=4), Window(end_step=3)])
def test_steps_of_a_trace_without_phases_are_an_error(window: Window, tmp_path: Path) -> None:
    """The whole trace had been reported, under the heading `steps 2:4 of each phase`."""
    trace = TraceBuilder()
    main = trace.process().thread()
    for at in range(0, 600, 100):
        main.launch(at, gpu=(at + 10, at + 60))

    with pytest.raises(UsageError, match="nothing is left in the window") as caught:
        report_of(trace.write(tmp_path / "trace.sqlite"), window)
    assert "the trace has no phases" in str(caught.value.hint)


def test_seconds_of_the_host_alone_have_a_report_that_says_so(tmp_path: Path) -> None:
    trace = steps_and_more()
    trace._processes[0].thread().push(250, 450, "data").call(300, api="cudaMalloc")
    report = report_of(trace.write(tmp_path / "trace.sqlite"), Window(from_ns=240, to_ns=460))

    assert (report.phases, report.unattributed.kernel_count) == ([], 0)
    (finding,) = [one for one in report.findings if one.code == "no_gpu_work"]
    assert "no GPU work was launched in the window, which has 1 CUDA calls" in finding.message


@pytest.mark.parametrize(
    "options",
    [{"steps": "3"}, {"steps": "4:4"}, {"steps": "a:b"}, {"from_s": 2.0, "to_s": 1.0}, {"from_s": -1.0}],
)
def test_windows_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Window.parse(**options)  # type: ignore[arg-type]


def test_windows_in_words() -> None:
    assert Window.parse() is None
    assert Window.parse(skip=0) is None
    assert str(Window.parse(steps="2:5", from_s=1.5)) == "from 1.5 s to the end, steps 2:5 of each phase"
