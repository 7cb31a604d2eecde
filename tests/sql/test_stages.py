"""Stages `vision.<part>` inside phases: times with and without the stages inside, FLOPs, and repeats."""

from __future__ import annotations

from pathlib import Path

import attrs

from nsys_pipeline import markers
from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Estimator
from nsys_pipeline.records import Report, Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, open_session, table
from tests.support.trace_builder import ThreadBuilder, TraceBuilder
from tests.unit.model.test_images import OCR2

MS = 1_000_000
VIEWS = ((48, 48), (64, 64))
PREFILL = Step((500,), (0,), 1, images=VIEWS)
OPTIONS = AnalysisOptions(model=OCR2)
STAGES = (
    "SELECT phase, stage, parent, range_count, wall_ns, own_wall_ns, kernel_count, gpu_busy_ns, own_busy_ns "
    "FROM stage_summary ORDER BY wall_ns DESC, stage"
)


def prefill(thread: ThreadBuilder, at: int, slower: int = 0) -> None:
    """100 ms of host time: two calls of the tower with SAM and encoder in them, then projector and decoder."""
    thread.push(at, at + 100 * MS + slower, "request", domain="llmperf")
    thread.push(at, at + 100 * MS + slower, "prefill", domain="llmperf")
    thread.mark(at, markers.encode_step(PREFILL), domain="llmperf")
    for call in (at + MS, at + 31 * MS):
        thread.push(call, call + 20 * MS, "vision.tower", domain="llmperf")
        thread.launch(call + 10, gpu=(call + 20, call + 2 * MS))
        thread.push(call + 2 * MS, call + 12 * MS, "vision.sam", domain="llmperf")
        # Overlaps on two streams count once.
        thread.launch(call + 2 * MS + 10, gpu=(call + 2 * MS + 20, call + 6 * MS + 20))
        thread.launch(call + 2 * MS + 30, gpu=(call + 4 * MS + 20, call + 8 * MS + 20), stream=9)
        thread.push(call + 13 * MS, call + 18 * MS, "vision.encoder", domain="llmperf")
        # Runs on when its range is closed: attribution is by launch.
        thread.launch(call + 13 * MS + 10, gpu=(call + 13 * MS + 20, call + 25 * MS + 20))
    thread.push(at + 61 * MS, at + 62 * MS, "vision.projector", domain="llmperf")
    # The host allocates and waits before the projector's work, inside and outside its range.
    thread.call(at + 57 * MS, until=at + 58 * MS, api="cudaStreamSynchronize_v3020")
    thread.call(at + 59 * MS, until=at + 61 * MS - 10, api="cudaMalloc_v3020")
    thread.launch(at + 61 * MS + 10, gpu=(at + 61 * MS + 20, at + 62 * MS + 20))
    thread.launch(at + 70 * MS, gpu=(at + 70 * MS + 20, at + 90 * MS + 20))


def write(folder: Path, slower: tuple[int, ...] = (0,)) -> Path:
    builder = TraceBuilder().gpu()
    thread = builder.process().thread()
    for index, extra in enumerate(slower):
        prefill(thread, index * 200 * MS, extra)
    return builder.write(folder / "trace.sqlite")


def report_of(path: Path) -> Report:
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return analyze(opened, OPTIONS)


def test_stages_with_and_without_those_inside(tmp_path: Path) -> None:
    path = write(tmp_path)

    assert ask(path, STAGES, tmp_path) == table("""
        phase,stage,parent,range_count,wall_ns,own_wall_ns,kernel_count,gpu_busy_ns,own_busy_ns
        prefill,rest,,,59000000,59000000,,20000000,20000000
        prefill,tower,,2,40000000,10000000,8,39999960,3999960
        prefill,sam,tower,2,20000000,20000000,4,12000000,12000000
        prefill,encoder,tower,2,10000000,10000000,2,24000000,24000000
        prefill,projector,,1,1000000,1000000,1,1000000,1000000
    """)


def test_idle_time_of_stages_adds_up_to_the_phases_budget(tmp_path: Path) -> None:
    """By hand, in ns after the start of the request: each gap belongs to the stage that launched what ends it."""
    path = write(tmp_path)

    with open_session(path, tmp_path) as session:
        classes = ("launch", "latency", "sync", "api", "host")
        columns = ", ".join(f"own_{name}_ns" for name in ("idle", *classes))
        with session.query(f"SELECT stage, {columns} FROM stage_summary") as result:
            rows = {stage: times for stage, *times in result.rows()}
        with session.query(
            "SELECT class, sum(time_ns) FROM time_budget WHERE phase = 'prefill' GROUP BY class"
        ) as result:
            budget: dict[str, int] = dict(result.rows())

    idle = {stage: times[0] for stage, times in rows.items()}
    # Before the tower's own kernels: from the start of the request, and from the end of the first encoder's kernel.
    first, second = MS + 20, (31 * MS + 20) - (MS + 13 * MS + 12 * MS + 20)
    assert idle["tower"] == first + second
    # SAM waits for 20 ns of its launch after the tower's kernel has ended, in each call; the encoder for SAM's kernels.
    assert idle["sam"] == 2 * 20
    assert idle["encoder"] == 2 * ((13 * MS + 20) - (8 * MS + 20))
    assert idle["projector"] == (61 * MS + 20) - (31 * MS + 13 * MS + 12 * MS + 20)
    assert sum(idle.values()) == sum(budget.get(name, 0) for name in classes)
    for place, name in enumerate(classes, start=1):
        assert sum(times[place] for times in rows.values()) == budget.get(name, 0)
    assert (rows["projector"][3], rows["projector"][4]) == (MS, 2 * MS - 10)
    assert all(times[0] == sum(times[1:]) and min(times) >= 0 for times in rows.values())


def test_flops_of_stages_are_parts_of_the_pass(tmp_path: Path) -> None:
    report = report_of(write(tmp_path))
    estimator = Estimator(OCR2)
    whole, text = estimator.estimate(PREFILL), estimator.estimate(attrs.evolve(PREFILL, images=()))

    flops = {row.stage: row.flops or 0 for row in report.stages}

    by_op: dict[str, int] = {}
    for op in whole.ops:
        label = op.name if op.name == "projector" else ".".join(op.layer.split(".")[:2])
        by_op[label] = by_op.get(label, 0) + op.layers * op.flops_model
    assert flops["sam"] == by_op["vision.sam"] + by_op["vision.neck"] + by_op["vision.before"] > 0
    assert flops["encoder"] == by_op["vision.encoder"] > 0
    assert flops["projector"] == by_op["projector"] > 0
    assert flops["tower"] == flops["sam"] + flops["encoder"]
    assert flops["tower"] + flops["projector"] == whole.flops - text.flops
    assert flops["rest"] == text.flops
    # All of the phase, once.
    (phase,) = report.phases
    own = (sum(row.own_wall_ns for row in report.stages), sum(row.own_busy_ns for row in report.stages))
    assert own == (phase.wall_ns, phase.gpu_busy_ns)
    outermost = [row for row in report.stages if row.parent is None]
    assert sum(row.flops or 0 for row in outermost) == phase.flops == whole.flops


def test_repeats_have_mean_and_deviation_and_cold_ones_are_left_out(tmp_path: Path) -> None:
    slower = (900 * MS, *(index * MS for index in (0, 10, 20, 30)), *([15 * MS] * 6))
    builder = TraceBuilder().gpu()
    thread = builder.process().thread()
    at = 0
    for extra in slower:
        prefill(thread, at, extra)
        at += 200 * MS + extra

    rows = {(row.phase, row.stage): row for row in report_of(builder.write(tmp_path / "repeats.sqlite")).repeats}

    one = rows["prefill", None]
    assert (one.shape, one.repeats, one.cold) == ("1x500 + 2 images", 10, 1)
    assert one.mean_wall_ns == 115 * MS
    assert one.sd_wall_ns is not None
    assert abs(one.sd_wall_ns - (500 / 9) ** 0.5 * MS) < 1
    tower = rows["prefill", "tower"]
    assert (tower.repeats, tower.cold, tower.mean_wall_ns, tower.sd_wall_ns) == (10, 1, 40 * MS, 0)
    assert tower.mean_busy_ns == 39_999_960


def test_what_is_no_stage(tmp_path: Path) -> None:
    builder = TraceBuilder().gpu()
    thread = builder.process().thread()
    thread.push(0, 10 * MS, "vision.tower", domain="llmperf").launch(10, gpu=(20, MS))
    thread.push(20 * MS, 30 * MS, "prefill", domain="llmperf").launch(21 * MS, gpu=(22 * MS, 23 * MS))
    thread.push(24 * MS, 25 * MS, "vision.", domain="llmperf")
    thread.push(26 * MS, 27 * MS, "vision.tower", domain="other")
    path = builder.write(tmp_path / "none.sqlite")

    report = report_of(path)
    assert (report.stages, report.repeats, [phase.name for phase in report.phases]) == ([], [], ["prefill"])
