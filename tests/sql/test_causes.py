"""Findings with a value: planted causes are found first, what is not there is not found, and no value is too large."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.records import OUTSIDE_BUDGET, Budget, Finding, Report
from nsys_pipeline.report.document import Message, Notes
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.sqlmods import all_modules
from scripts import verdict_tables
from tests.support import real_traces
from tests.support.ask import ask, report_of
from tests.support.examples import examples
from tests.support.planted_causes import CAUSES, SEEDS, US, Loop, options_of
from tests.support.trace_builder import TraceBuilder


def limit_ns(report: Report, cause: Finding) -> int:
    """What the budget of its phase has in the classes that the finding names."""
    budgets: dict[str | None, Budget] = {
        None: report.unattributed.budget,
        **{phase.name: phase.budget for phase in report.phases},
    }
    assert cause.budget_part is not None
    if cause.budget_part == OUTSIDE_BUDGET:
        assert report.training is not None
        return report.training.wall_ns
    return sum(getattr(budgets[cause.phase], f"{name}_ns") for name in cause.budget_part.split("+"))


@pytest.mark.parametrize("seed", range(examples(1, SEEDS)))
@pytest.mark.parametrize("planted", CAUSES)
def test_a_planted_cause_is_found_first_and_no_other(planted: str, seed: int, tmp_path: Path) -> None:
    make, expected = CAUSES[planted]

    report = report_of(make(Random(f"{planted} {seed}")), tmp_path, options_of(planted))

    assert [cause.code for cause in report.causes] == ([expected] if expected else [])
    for cause in report.causes:
        assert cause.at_stake_ns is not None
        assert 0 < cause.at_stake_ns <= limit_ns(report, cause)
        assert cause.hint
        assert "unknown" not in cause.message


@pytest.mark.parametrize("name", real_traces.NAMES)
def test_on_real_traces_no_value_is_more_than_its_part_of_the_budget(name: str) -> None:
    report = real_traces.report_of(name)

    for cause in report.causes:
        assert cause.at_stake_ns is not None
        assert 0 < cause.at_stake_ns <= limit_ns(report, cause)
        assert "unknown" not in cause.message
    assert report.causes == sorted(report.causes, key=lambda one: -(one.at_stake_ns or 0))
    if name in verdict_tables.SINGLE_GPU:
        document = verdict_tables.DOCUMENT.read_text().partition("<!-- traces -->")[2]
        assert [line for line in document.splitlines() if line.startswith(f"| {name} |")] == verdict_tables.trace_rows(
            name, report
        )


def test_the_table_of_planted_causes_says_what_the_tests_above_ask_for() -> None:
    told = {planted: Counter({code: SEEDS} if code else {}) for planted, (_, code) in CAUSES.items()}

    table = "\n".join(verdict_tables.planted_lines(told, dict.fromkeys(CAUSES, SEEDS)))
    assert table in verdict_tables.DOCUMENT.read_text()


def test_every_cause_says_a_cure_and_has_a_planted_trace() -> None:
    causes = [module for module in all_modules().values() if module.is_cause]

    assert {module.name for module in causes if not module.hint} == set()
    assert {module.relation for module in causes} == {code for _, code in CAUSES.values() if code}


def test_blocks_are_few_for_the_sms_of_the_gpu(tmp_path: Path) -> None:
    """32 blocks on 132 SMs leave three quarters of them idle; of 16 SMs each has two."""
    query = "SELECT at_stake_ns, kernel_count, blocks, sm_count FROM findings.few_blocks"

    def trace(sm_count: int, **more: Any) -> TraceBuilder:
        made = TraceBuilder().gpu(sm_count=sm_count)
        main = made.process().thread().push(0, 100_000, "decode")
        main.launch(10, gpu=(20, 60_020), name="kernel", gridX=8, gridY=4, **more)
        # Shorter than 10 µs, and one that waits on purpose.
        main.launch(20, gpu=(60_020, 69_000), name="kernel", gridX=1)
        main.launch(30, gpu=(70_000, 90_000), name="spin_kernel", gridX=1)
        return made

    folders = [tmp_path / name for name in ("large", "small", "unknown")]
    for folder in folders:
        folder.mkdir()

    assert ask(trace(132), query, folders[0]).splitlines()[1:] == [f"{60_000 * 100 // 132},1,32,132"]
    # One block each is few for 16 SMs, too, but those kernels are short or wait.
    assert ask(trace(16), query, folders[1]).splitlines()[1:] == []
    assert ask(trace(132, gridZ=None), query, folders[2]).splitlines()[1:] == []


def test_the_first_causes_stand_under_the_budget_and_not_among_the_findings(tmp_path: Path) -> None:
    report = report_of(CAUSES["slow host code"][0](Random(0)), tmp_path)

    sections = report_document(report).sections
    names = [section.name for section in sections]
    assert names[names.index("budget") + 1] == "worth doing"
    (notes,) = next(section for section in sections if section.name == "worth doing").blocks
    assert isinstance(notes, Notes)
    assert notes.notes[0].lead.startswith("at most ")
    assert notes.notes[0].lead.endswith("of decode")
    messages = [block for section in sections for block in section.blocks if isinstance(block, Message)]
    assert report.causes[0].message not in {message.text for message in messages if message.severity != "info"}


def test_a_small_batch_says_what_a_larger_one_would_give(tmp_path: Path) -> None:
    """1.2 ms a step for one token; weights take 0.74 ms at peak, and four times the cache of 512 tokens hardly more."""
    (cause,) = report_of(CAUSES["a batch of one"][0](Random(0)), tmp_path, options_of("a batch of one")).causes

    found = re.search(r"for 1 token: (\d+) tokens a second at (\d+) % MBU; .* has ([\d,]+) a second", cause.message)
    assert found
    rate, mbu, larger = (int(each.replace(",", "")) for each in found.groups())
    assert rate == pytest.approx(1 / 1.2e-3, rel=0.03)
    assert mbu == pytest.approx(100 * 0.745 / 1.2, abs=2)
    assert larger == pytest.approx(4 * rate, rel=0.05)


def host_loop(steps: int, between_us: int, pause_us: int = 0) -> Loop:
    """Steps of ten kernels of 50 µs and a wait, `between_us` of host code after each, and a pause in the fourth."""
    loop = Loop(Random(0))
    for step in range(steps):
        start = loop.host_ns
        for _ in range(10):
            loop.kernel(50 * US)
        loop.synchronize()
        loop.python(pause_us * US if step == 3 else 0)
        loop.main.push(start, loop.host_ns, "decode")
        loop.python(between_us * US)
    return loop


def test_slow_steps_of_one_process_are_those_of_its_own(tmp_path: Path) -> None:
    # given two processes of one phase, and a pause in one step of twelve of the first
    trace = host_loop(12, 0, pause_us=9_000).trace
    other = Loop(Random(0), trace, device=1)
    for _ in range(20):
        start = other.host_ns
        for _ in range(10):
            other.kernel(50 * US)
        other.synchronize()
        other.main.push(start, other.host_ns, "decode")

    causes = {cause.code: cause for cause in report_of(trace, tmp_path).causes}

    assert causes["host_bound_steps"].message.endswith(" of it in 1 of 12 steps of one process")


def test_host_code_of_one_step_is_not_told_as_that_of_each_launch(tmp_path: Path) -> None:
    (cause,) = report_of(host_loop(12, 0, pause_us=9_000).trace, tmp_path).causes

    assert cause.code == "host_bound_steps"
    assert cause.message.endswith("its own code: 100 % of it in 1 of 12 steps")
    assert "garbage collection" in (cause.hint or "")
    assert "CUDA graphs" not in (cause.hint or "")


def test_host_code_between_the_ranges_of_steps_is_not_told_as_that_of_their_launches(tmp_path: Path) -> None:
    """A sampler between the steps of a request: graphs would launch no sooner."""
    loop = host_loop(12, 600)
    loop.main.push(0, loop.host_ns, "request", domain="llmperf")

    cause = report_of(loop.trace, tmp_path).causes[0]

    assert (cause.code, cause.phase) == ("host_bound_steps", "decode")
    found = re.search(r", ([\d.]+) ms of it or more before the range of a step begins$", cause.message)
    assert found
    # Eleven times 600 µs, and what the host does in its steps at the most.
    assert float(found[1]) == pytest.approx(6.6, abs=0.15)
    assert cause.at_stake_ns is not None
    assert float(found[1]) <= cause.at_stake_ns / 1e6 + 0.05
    assert "sampling" in (cause.hint or "")


@pytest.mark.parametrize(
    ("waits", "told"), [(10, "6 of 18 steps wait for the GPU 10 times"), (2, "6 of 18 steps wait for the GPU 2 times")]
)
def test_steps_that_wait_are_counted_where_others_do_not(waits: int, told: str, tmp_path: Path) -> None:
    """Three threads take turns on one GPU, and the second one reads values back."""
    loop = Loop(Random(0))
    threads = [loop.main.process.thread(200 + index) for index in range(3)]
    for _ in range(6):
        for index, thread in enumerate(threads):
            loop.main = thread
            start = loop.host_ns
            for place in range(10):
                loop.kernel(40 * US)
                if index == 1 and place < waits:
                    loop.synchronize()
                    loop.python(400 * US // waits)
            thread.push(start, loop.host_ns, "decode")

    causes = {cause.code: cause for cause in report_of(loop.trace, tmp_path).causes}

    assert told in causes["synchronizing_calls"].message


def test_one_wait_a_step_is_told_if_the_gpu_is_idle_in_it(tmp_path: Path) -> None:
    """The thread sleeps for 500 µs after the GPU is done."""
    loop = Loop(Random(0))

    def body(loop: Loop) -> None:
        for _ in range(5):
            loop.kernel(100 * US)
        until = loop.gpu_ns + 500 * US
        loop.main.call(loop.host_ns, until=until, api="cudaStreamSynchronize_v3020")
        loop.host_ns = until

    report = report_of(loop.steps(body), tmp_path)

    assert report.phases[0].bound == "sync-bound"
    assert [cause.code for cause in report.causes] == ["synchronizing_calls"]
    assert "each step waits for the GPU once" in report.causes[0].message
    assert "for 3.0 ms inside these calls the GPU is idle" in report.causes[0].message


def test_causes_that_may_share_time_are_not_added_up(tmp_path: Path) -> None:
    """Waits between slow host code: both have the host's time. Slow host code alone has nobody to share with."""

    def body(loop: Loop) -> None:
        for _ in range(10):
            loop.kernel(20 * US)
            loop.synchronize()
            loop.python(60 * US)

    def lines(trace: TraceBuilder, name: str) -> list[str]:
        (tmp_path / name).mkdir()
        report = report_of(trace, tmp_path / name)
        (notes,) = next(section for section in report_document(report).sections if section.name == "worth doing").blocks
        assert isinstance(notes, Notes)
        return [note.text for note in notes.notes if "add up" in note.text]

    assert lines(Loop(Random(0)).steps(body), "both") == [
        "those of one phase may share time: their values need not add up"
    ]
    assert lines(CAUSES["slow host code"][0](Random(0)), "alone") == []
