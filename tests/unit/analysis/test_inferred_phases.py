"""A trace without ranges: phases from the launches themselves, and what says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline import open as open_trace_of
from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import inferred
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.cli.run import run
from tests.support.real_traces import unpack_by_name, without_ranges
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

SAMPLE = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>>>(T3)"
NAMES = {
    "lookup": "void at::native::indexSelectSmallIndex<c10::BFloat16>(T1)",
    "gemm": "nvjet_tst_64x8_64x16_2x1_v_bz_TNT",
    "attention": "void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits>(Flash_fwd_params)",
    "activation": "void at::native::vectorized_elementwise_kernel<4, at::native::silu_kernel(T1)>(int)",
    "sample": SAMPLE,
    "cache": "void at::native::<unnamed>::CatArrayBatchedCopy<OpaqueType<2>, unsigned int>(T1 *)",
}


def passes(thread: ThreadBuilder, count: int, *, layers: int = 3) -> None:
    """Decode steps of a small model, 1000 ns each."""
    for step in range(count):
        at = 10_000 + 1_000 * step
        kernels = ["lookup", *["gemm", "cache", "attention", "gemm", "activation"] * layers, "gemm", "sample"]
        for index, name in enumerate(kernels):
            start = at + 20 * index
            blocks = {"activation": 8, "sample": 1}.get(name, 4)
            thread.launch(start, gpu=(start + 5, start + 15), name=NAMES[name], gridX=blocks, gridY=1, gridZ=1)


@pytest.fixture
def unmarked(tmp_path: Path) -> Path:
    trace = TraceBuilder().gpu()
    passes(trace.process().thread(), 10)
    return trace.write(tmp_path / "t.sqlite")


@pytest.fixture
def half_marked(tmp_path: Path) -> Path:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    passes(thread, 10)
    thread.push(10_000, 15_000, "prefill")
    return trace.write(tmp_path / "t.sqlite")


def test_phases_have_source_score_and_evidence(unmarked: Path) -> None:
    with open_trace(unmarked) as trace:
        report = analyze(trace)

    (phase,) = report.phases
    assert (phase.name, phase.occurrences, phase.kernel_count) == ("decode", 10, 180)
    assert (phase.source, phase.score) == ("inferred", 1.0)
    assert phase.evidence == "10 × (3 attention kernels, then arg-max or sampling); one token of each sequence"
    assert [one.severity for one in report.findings if one.code == "inferred_phases"] == ["warning"]
    assert not {"no_nvtx", "no_phases"} & {one.code for one in report.findings}
    assert all(check.passed for check in report.checks)


def test_ranges_say_what_the_phases_are_unless_the_user_wants_it_otherwise(half_marked: Path) -> None:
    found = {}
    for infers in (None, True, False):
        with open_trace(half_marked, TraceOptions(infers=infers)) as trace:
            found[infers] = {one.name: (one.occurrences, one.source) for one in analyze(trace).phases}

    assert found == {
        None: {"prefill": (1, "rules")}, True: {"decode": (10, "inferred")}, False: {"prefill": (1, "rules")},
    }  # fmt: skip


def test_no_infer_leaves_all_work_outside(unmarked: Path) -> None:
    with open_trace(unmarked, TraceOptions(infers=False)) as trace:
        report = analyze(trace)

    assert report.phases == []
    assert report.unattributed.kernel_count == 180
    (finding,) = [one for one in report.findings if one.code == "no_nvtx"]
    assert finding.message == "there are no NVTX ranges, so all work is in no phase"


def test_more_launches_than_memory_holds_are_not_looked_at(unmarked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inferred, "MAX_LAUNCHES", 20)
    with open_trace(unmarked, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
        reason = trace.inputs.passes.reason

    assert reason == "50 launches tell something, more than 20"
    # What repeats is looked for in a sample of the launches.
    assert [(one.name, one.occurrences) for one in report.phases] == [("repeat A", 10)]


def test_the_cache_keeps_what_was_inferred(unmarked: Path) -> None:
    reports = []
    for _ in range(2):
        with open_trace(unmarked) as trace:
            reports.append(analyze(trace))
            is_cached = trace.is_cached

    assert is_cached
    assert reports[0] == reports[1]


@pytest.mark.parametrize("option", [(), ("--infer",)])
def test_a_model_told_later_is_held_against_what_the_cache_keeps(
    unmarked: Path, option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "analyze", unmarked, *option)
    status, text, _ = run(capsys, "analyze", unmarked, *option, "--model", "llama-3.2-1b")

    assert status == 1
    assert "a pass of decode runs 3 attention kernels and 7 matrix products: it is another model" in " ".join(
        text.split()
    )


def test_the_command_line_and_python_have_the_option(half_marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, by_default, _ = run(capsys, "analyze", half_marked, "--format", "json")
    _, forced, _ = run(capsys, "analyze", half_marked, "--infer", "--format", "json")
    _, rows, told = run(capsys, "sql", half_marked, "SELECT DISTINCT phase FROM phases", "--infer", "--format", "csv")

    assert [one["name"] for one in json.loads(by_default)["phases"]] == ["prefill"]
    phases = [(one["name"], one["source"], one["score"]) for one in json.loads(forced)["phases"]]
    assert phases == [("decode", "inferred", 1.0)]
    assert rows.split() == ["phase", "decode"]
    assert "10 occurrences of decode are inferred from the launches" in told
    with open_trace_of(half_marked, infer=True) as trace:
        assert trace.sql("SELECT count(*) AS n FROM phases")["n"].to_list() == [10]


def test_a_window_has_some_of_the_steps_that_all_launches_tell(unmarked: Path) -> None:
    """Two steps alone would be too few to tell."""
    with open_trace(unmarked, TraceOptions(window=Window(first_step=3, end_step=5))) as trace:
        report = analyze(trace)

    assert [(one.name, one.occurrences, one.kernel_count) for one in report.phases] == [("decode", 2, 36)]
    evidence = "2 × (3 attention kernels, then arg-max or sampling); one token of each sequence"
    assert report.phases[0].evidence == evidence
    assert all(check.passed for check in report.checks)


def test_the_report_says_what_is_inferred(unmarked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "analyze", unmarked)
    evidence = "10 × (3 attention kernels, then arg-max or sampling); one token of each sequence"
    assert f"inferred: {evidence}" in " ".join(text.split())


def convolutions(steps: int) -> TraceBuilder:
    """Training of a small CNN that no rule knows: gradients come from a thread of their own."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread(101, name="pt_autograd_0")
    for step in range(steps):
        at = 1_000_000 * (step + 1)
        main.memcpy(at, gpu=(at + 100, at + 200), size_bytes=4096 * (1 + step % 2))
        kernels = [(main, f"conv{layer % 7}") for layer in range(20)] + [
            (autograd, f"gradient{layer % 7}") for layer in range(20)
        ]
        for index, (thread, name) in enumerate([*kernels, (main, "loss_scale"), *[(main, "update")] * (4 + step % 2)]):
            start = at + 10_000 * (index + 1)
            thread.launch(start, gpu=(start + 2_000, start + 8_000), name=name)
    return trace


def test_units_of_no_language_model_are_repeats(tmp_path: Path) -> None:
    path = convolutions(12).write(tmp_path / "t.sqlite")
    for window, steps in ((None, range(12)), (Window(first_step=2, end_step=5), range(2, 5))):
        with open_trace(path, TraceOptions(use_cache=False, window=window)) as trace:
            report = analyze(trace)

        (phase,) = report.phases
        assert (phase.name, phase.occurrences, phase.source, phase.score) == ("repeat A", len(steps), "inferred", 1.0)
        unit = "about 25 kernels and 1 host copy of its own thread"
        assert phase.evidence == f"{len(steps)} × ({unit}); the launches do not tell what it is"
        assert phase.kernel_count == sum(45 + step % 2 for step in steps)
        assert report.unattributed.kernel_count == 0
        assert all(check.passed for check in report.checks)


def test_too_few_units_are_none_and_one_line_says_why(tmp_path: Path) -> None:
    with open_trace(convolutions(3).write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)

    assert report.phases == []
    (finding,) = [one for one in report.findings if one.code == "no_nvtx"]
    assert finding.message.startswith(
        "there are no NVTX ranges, so all work is in no phase; none is inferred: no kernels"
    )


def test_inferred_requests_have_the_times_of_the_marked_ones(tmp_path: Path) -> None:
    path = unpack_by_name("h100_gpu_metrics", tmp_path)
    query = "SELECT decode_steps, ttft_ns, tpot_ns FROM requests ORDER BY start_ns"
    with open_trace_of(path, infer=False) as trace:
        marked = trace.sql(query).rows()

    with open_trace_of(without_ranges(path)) as trace:
        inferred = trace.sql(query).rows()

    assert [steps for steps, _, _ in inferred] == [steps for steps, _, _ in marked] == [2, 16]
    assert inferred[1][1:] == pytest.approx(marked[1][1:], rel=0.05)


def test_given_shapes_are_of_inferred_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = without_ranges(unpack_by_name("h100_gpu_metrics", tmp_path))
    query = "SELECT phase, sum(new_tokens) AS tokens FROM phases GROUP BY phase ORDER BY phase"

    _, rows, _ = run(capsys, "sql", path, query, "--shape", "1x128+2", "--shape", "2x1024+16", "--format", "csv")

    assert rows.splitlines()[1:] == [f"decode,{2 + 2 * 16}", f"prefill,{128 + 2 * 1024}"]
