"""What bounds a phase: each class of the budget on a trace that can be added up by hand, and real traces against it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.query.session import Session
from nsys_pipeline.records import Report
from nsys_pipeline.report.document import Notes
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from scripts import verdict_tables
from tests.support import misleading
from tests.support.ask import ask
from tests.support.misleading import EXAMPLES
from tests.support.planted_causes import STEPS
from tests.support.real_traces import NAMES, SUFFIX, TRACES
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

VERDICT = "SELECT bound, class, class_ns, budget_ns FROM verdicts"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
WORDS = {
    "host": "host-bound", "api": "host-bound", "launch": "launch-bound", "latency": "launch-bound",
    "sync": "sync-bound", "copy": "copy-bound", "transfer": "communication-bound", "wait": "waiting",
}  # fmt: skip


def report_of(trace: TraceBuilder | Path, folder: Path, options: AnalysisOptions | None = None) -> Report:
    path = trace if isinstance(trace, Path) else trace.write(folder / "trace.sqlite")
    # Real traces are prepared once for all tests that ask them.
    with open_trace(path, TraceOptions(use_cache=path is trace)) as opened:
        return analyze(opened, options)


def step() -> tuple[TraceBuilder, ThreadBuilder]:
    """A decode step from 0 to 100 whose work is still to come."""
    trace = TraceBuilder().gpu()
    return trace, trace.process().thread().push(0, 100, "decode")


def test_host_code_and_calls_that_neither_launch_nor_wait_are_the_hosts(tmp_path: Path) -> None:
    trace, main = step()
    main.launch(70, gpu=(75, 100))
    assert ask(trace, VERDICT, tmp_path).splitlines()[1] == "host-bound,host,70,100"

    trace, main = step()
    main.call(0, until=60, api="cudaMalloc_v3020")
    main.launch(70, gpu=(75, 100))
    (tmp_path / "api").mkdir()
    assert ask(trace, VERDICT, tmp_path / "api").splitlines()[1] == "host-bound,api,60,100"


def test_long_launching_calls_and_late_starts_are_launch_overhead(tmp_path: Path) -> None:
    trace, main = step()
    main.launch(0, until=60, gpu=(70, 100))
    assert ask(trace, VERDICT, tmp_path).splitlines()[1] == "launch-bound,launch,60,100"

    trace, main = step()
    main.launch(0, gpu=(70, 100))
    (tmp_path / "latency").mkdir()
    assert ask(trace, VERDICT, tmp_path / "latency").splitlines()[1] == "launch-bound,latency,68,100"


def test_a_step_that_mostly_synchronizes_is_sync_bound(tmp_path: Path) -> None:
    trace, main = step()
    main.launch(0, gpu=(2, 10)).call(12, until=80, api="cudaStreamSynchronize_v3020")
    main.launch(82, gpu=(90, 100))

    assert ask(trace, VERDICT, tmp_path).splitlines()[1] == "sync-bound,sync,68,100"


def test_copies_and_communication_name_the_bound_if_they_are_the_largest_part(tmp_path: Path) -> None:
    trace, main = step()
    main.memcpy(0, gpu=(5, 80)).launch(70, gpu=(80, 100))
    assert ask(trace, VERDICT, tmp_path).splitlines()[1] == "copy-bound,copy,75,100"

    trace, main = step()
    main.launch(0, gpu=(5, 80), name=ALL_REDUCE).launch(70, gpu=(80, 100))
    (tmp_path / "transfer").mkdir()
    assert ask(trace, VERDICT, tmp_path / "transfer").splitlines()[1] == "communication-bound,transfer,75,100"


def test_of_equal_parts_the_first_of_the_budget_decides(tmp_path: Path) -> None:
    trace, main = step()
    main.launch(48, gpu=(50, 100))
    main.call(0, until=24, api="cudaStreamSynchronize_v3020")

    # sync 24, host 24, launch 2, compute 50; without the kernel's half: of host and sync it would be host.
    assert ask(trace, VERDICT, tmp_path).splitlines()[1] == ",compute,50,100"


def test_a_phase_of_which_one_gpu_mostly_waits_for_another_rank_is_waiting(tmp_path: Path) -> None:
    # Given two ranks that do an all-reduce together, of which one comes after 80 of 100 ns of Python.
    trace = TraceBuilder().gpu(0).gpu(1)
    for device, entered in enumerate((2, 80)):
        main = trace.process(100 + device).thread().push(0, 100, "decode")
        main.launch(entered, gpu=(entered + 3, 98), name=ALL_REDUCE, device=device)

    # Host code of the late one is more than the other one waits: 80 and 78 ns of 196.
    report = report_of(trace, tmp_path)
    (phase,) = report.phases
    assert phase.budget.host_ns > phase.budget.wait_ns
    assert phase.bound == "waiting"
    assert phase.bound_detail == (
        "GPU 0 waits 78% of the time for another rank; GPU 1, which waits least: host code 82%"
    )


def llama_step(*shapes: str) -> AnalysisOptions:
    return AnalysisOptions(model=load_model("llama-3.2-1b"), shapes=tuple(map(RequestShape.parse, shapes)))


@pytest.mark.parametrize(
    ("busy_us", "shape", "word"),
    [
        # One token reads 2.5 GB of weights, which takes an H100 0.74 ms; 4,096 need 9 TFLOP, which take 9 ms.
        (1_000, "1x1", "memory-bound"),
        (3_000, "1x1", "kernel-bound"),
        (12_000, "1x4096", "compute-bound"),
        (60_000, "1x4096", "kernel-bound"),
    ],
)
def test_a_limit_bounds_a_busy_phase_if_it_explains_half_of_its_time(
    busy_us: int, shape: str, word: str, tmp_path: Path
) -> None:
    trace = TraceBuilder().gpu()
    end = busy_us * 1_000
    trace.process().thread().push(0, end + 100, "request").push(10, end + 50, "prefill").launch(20, gpu=(30, end))

    (phase,) = report_of(trace, tmp_path, llama_step(shape)).phases

    assert phase.bound == word
    assert "kernels run 100% of the time; at peak" in (phase.bound_detail or "")


def test_without_a_model_nothing_says_what_bounds_a_busy_gpu(tmp_path: Path) -> None:
    trace, main = step()
    main.launch(0, gpu=(5, 100))

    report = report_of(trace, tmp_path)

    assert report.phases[0].bound is None
    notes = next(section for section in report_document(report).sections if section.name == "verdict").blocks[0]
    assert isinstance(notes, Notes)
    assert (notes.notes[0].label, notes.notes[0].lead) == ("decode", "bound unknown")
    assert notes.notes[0].text.startswith("kernels run 95% of the time, and nothing says how near they are")


def test_mixed_shapes_have_a_verdict_each(tmp_path: Path) -> None:
    # Given a short prefill that waits for the host, and a long one that keeps the GPU busy.
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 9_000_000, "request").push(1, 9_000_000, "prefill").launch(8_000_000, gpu=(8_100_000, 9_000_000))
    main.push(10_000_000, 80_000_000, "request").push(10_000_001, 80_000_000, "prefill")
    main.launch(10_000_010, gpu=(10_000_100, 80_000_000))

    report = report_of(trace, tmp_path, llama_step("1x1", "1x4096"))

    (phase,) = report.phases
    assert phase.bound == "kernel-bound"
    assert [(row.shape, row.bound) for row in phase.shapes] == [("1x1", "host-bound"), ("1x4096", "kernel-bound")]
    notes = next(section for section in report_document(report).sections if section.name == "verdict").blocks[0]
    assert isinstance(notes, Notes)
    assert notes.notes[0].text.endswith("; host-bound in 1x1")


def test_a_trace_without_phases_has_a_verdict_of_all_its_time(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().launch(0, gpu=(5, 10)).launch(90, gpu=(95, 100))

    report = report_of(trace, tmp_path)

    assert (report.phases, report.unattributed.bound) == ([], "host-bound")
    assert any(section.name == "verdict" for section in report_document(report).sections)


def test_an_empty_trace_has_no_verdict(tmp_path: Path) -> None:
    assert ask(TraceBuilder().gpu(), "SELECT count(*) AS n FROM verdicts", tmp_path) == "n\n0"


@pytest.mark.parametrize("name", NAMES)
def test_on_real_traces_the_largest_part_of_the_budget_decides(name: str) -> None:
    with Session.of(open_trace(TRACES / f"{name}{SUFFIX}"), None) as session:
        rows = session.frame("SELECT phase, device_id, class, time_ns FROM time_budget").rows()
        query = "SELECT phase, bound, class, class_ns, budget_ns FROM verdicts WHERE shape IS NULL"
        found = session.frame(query).rows()
    times: dict[str | None, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    gpus: dict[str | None, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for phase, device, kind, time_ns in rows:
        times[phase][kind] += time_ns
        gpus[phase][device][kind] = time_ns
    assert {row[0] for row in found} == set(times)
    for phase, bound, kind, class_ns, budget_ns in found:
        waits = any(max(spent, key=lambda each: spent[each]) == "wait" for spent in gpus[phase].values())
        assert kind == ("wait" if waits else max(times[phase], key=lambda each: times[phase][each]))
        assert (class_ns, budget_ns) == (times[phase][kind], sum(times[phase].values()))
        limits = (None, "compute-bound", "memory-bound", "kernel-bound")
        assert bound in (limits if kind == "compute" else (WORDS[kind],))


@pytest.mark.parametrize("name", EXAMPLES)
def test_verdicts_that_were_wrong_are_right(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]

    report = report_of(example.trace if isinstance(example.trace, Path) else example.trace(), tmp_path, example.options)

    assert {phase.name: phase.bound for phase in report.phases}[example.phase] == example.bound
    assert example.first_of(report).code == example.first
    assert verdict_tables.example_row(name, report) in verdict_tables.DOCUMENT.read_text().splitlines()


def test_small_kernels_at_a_quarter_of_the_bandwidth_are_not_memory_bound(tmp_path: Path) -> None:
    example = EXAMPLES["420 kernels a step at 25 % MBU"]

    (decode,) = report_of(misleading.small_kernels(), tmp_path, example.options).phases

    assert (decode.kernel_count, decode.occurrences) == (420 * STEPS, STEPS)
    assert decode.mbu_busy == pytest.approx(0.25, abs=0.01)


def test_what_cures_a_plain_generate_is_in_the_hint_of_its_cold_steps(tmp_path: Path) -> None:
    example = EXAMPLES["h200_generate_python_samples"]
    assert isinstance(example.trace, Path)

    cold = example.first_of(report_of(example.trace, tmp_path))

    assert "36 of 78 occurrences of decode of 2x1 (the first of their length)" in cold.message
    assert "torch.backends.cuda.enable_cudnn_sdp(False)" in (cold.hint or "")
