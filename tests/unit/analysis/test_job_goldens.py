"""Real jobs on two GPUs against golden results: ranks, steps, communication and what is said about them.

`python -m tests.unit.analysis.test_job_goldens` writes the golden results anew.
"""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import unpack

pytestmark = pytest.mark.slow

JOBS = Path(__file__).resolve().parents[2] / "jobs"
GOLDEN = JOBS / "golden"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "gpu-jobs.md"
NAMES = ("h200x2_ddp.sqlite.xz", "h200x2_fsdp_slow_rank.sqlite.xz", "h200x2_fsdp_slow_rank")
SHORT = ("short/h200x2_ddp_training.sqlite.xz", "short/h200x2_fsdp_slow_rank.sqlite.xz", "short/h200x2_fsdp_ranks")
ALL = NAMES + SHORT


@attrs.frozen
class Job:
    """A Llama and what a rank trains of it in each step; all have 2,048 channels and 32,000 tokens."""

    layers: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    batch: int
    length: int
    steps: int
    is_checkpointed: bool


_FSDP = Job(8, 16, 4, 128, 5632, 4, 2048, 5, True)
_SHORT_FSDP = attrs.evolve(_FSDP, batch=2)
WORK = dict(zip(ALL, (_FSDP,) * 3 + (Job(6, 32, 8, 64, 8192, 2, 1024, 4, False),) + (_SHORT_FSDP,) * 2, strict=True))
HIDDEN, VOCABULARY, RANKS = 2048, 32000, 2


class Reports(dict[str, Report]):
    """Made when they are asked for: those that tests of another worker ask for are made there alone."""

    def __missing__(self, name: str) -> Report:
        self[name] = report_of(name)
        return self[name]


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return Reports()


def report_of(name: str, *, keep_cold: bool = False) -> Report:
    with open_trace(JOBS / name, TraceOptions(use_cache=False)) as trace:
        return analyze(trace, AnalysisOptions(keep_cold=keep_cold))


def told(report: Report) -> dict[str, Any]:
    """What is golden of `report`: whole numbers as they are, ratios in ten digits."""
    training = report.training
    assert training is not None
    phase_fields = ("name", "occurrences", "cold_occurrences", "kernel_count", "kernel_time_ns")
    rank_fields = ("rank", "window_ns", "compute_ns", "transfer_ns", "wait_ns", "copy_ns", "idle_ns", "blamed_ns")
    row_fields = ("phase", "kind", "kernel_count", "time_ns", "wait_ns", "transfer_ns", "exposed_ns")
    return {
        "kernels": [report.totals.kernel_count, report.totals.kernel_time_ns],
        "phases": [[getattr(phase, field) for field in phase_fields] for phase in report.phases],
        "ranks": [[getattr(rank, field) for field in (*rank_fields, "is_late", "reason")] for rank in report.ranks],
        "collectives": [[getattr(row, field) for field in row_fields] for row in report.collectives],
        "flops": [training.flops, training.recomputed_flops],
        "mfu_and_hfu": [round(ratio or 0, 10) for ratio in (training.mfu_wall, training.hfu_wall)],
        "findings": sorted({finding.code for finding in report.findings}),
    }


@pytest.mark.parametrize("name", ALL)
def test_it_is_golden(name: str, reports: dict[str, Report]) -> None:
    assert told(reports[name]) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ALL)
def test_flops_are_those_of_a_hand_count(name: str, reports: dict[str, Report]) -> None:
    job = WORK[name]
    tokens = job.batch * job.length
    layer = 2 * HIDDEN * job.head * (2 * job.heads + 2 * job.kv_heads) + 2 * HIDDEN * job.inner * 3
    attention = job.batch * 4 * job.heads * job.head * (job.length * (job.length + 1) // 2)
    forward = job.layers * (tokens * layer + attention) + tokens * 2 * HIDDEN * VOCABULARY

    training = reports[name].training

    assert training is not None
    assert training.flops == 3 * forward * RANKS * job.steps
    # checkpointing runs the layers again, without the last product of each and without the LM head
    again = job.layers * (tokens * (layer - 2 * HIDDEN * job.inner) + attention) if job.is_checkpointed else 0
    assert training.recomputed_flops == again * RANKS * job.steps


def test_a_verdict_says_the_limit_that_is_known(reports: dict[str, Report]) -> None:
    """Nobody counts the FLOPs of an optimizer, or the bytes of a backward."""
    details = {phase.name: phase.bound_detail or "" for phase in reports["h200x2_fsdp_slow_rank"].phases}

    assert details["optimizer"].endswith("; at peak, bytes take 56% of the busy time")
    assert details["backward"].endswith("; at peak, FLOPs take 26% of the busy time, and bytes are not known")


def test_communication_is_that_of_all_kernels_of_nccl(tmp_path: Path) -> None:
    whole = report_of(NAMES[0], keep_cold=True)
    with sqlite3.connect(unpack(JOBS / NAMES[0], tmp_path)) as trace:
        expected = trace.execute(
            "SELECT count(*), sum(k.end - k.start) FROM CUPTI_ACTIVITY_KIND_KERNEL AS k"
            " JOIN StringIds AS s ON s.id = k.shortName WHERE s.value LIKE 'ncclDevKernel%'"
        ).fetchone()

    assert (
        sum(row.kernel_count for row in whole.collectives),
        sum(row.time_ns for row in whole.collectives),
    ) == expected


@pytest.mark.parametrize("names", [NAMES[1:], SHORT[1:]], ids=["long", "short"])
def test_one_report_and_one_for_each_rank_tell_the_same(names: tuple[str, str], reports: dict[str, Report]) -> None:
    one, pair = (reports[name] for name in names)

    assert one.training is not None
    assert pair.training is not None
    assert one.training.flops == pair.training.flops
    first, second = ({(row.phase, row.kind): row for row in report.collectives} for report in (one, pair))
    assert first.keys() == second.keys()
    for key, row in first.items():
        assert row.kernel_count == second[key].kernel_count
        # another run of the same work: the waiting depends on the hosts, the moving of data in phases does not
        assert key[0] is None or row.transfer_ns == pytest.approx(second[key].transfer_ns, rel=0.1)
    for report in (one, pair):
        assert [(rank.rank, rank.is_late, rank.reason) for rank in report.ranks] == [
            (0, False, None),
            (1, True, "data"),
        ]
        # rank 1 sleeps 30 ms before each forward; one recording has the first of five behind the cold step
        (late,) = [found for found in report.findings if (found.code, found.phase) == ("late_rank", "forward")]
        assert re.search(r"for rank 1, each of them (28\.5|3\d\.\d) ms", late.message)
        assert late.message.endswith("until the first pass of its steps, as when it waits for data")
        assert next(phase.bound for phase in report.phases if phase.name == "forward") == "waiting"


def test_the_page_has_the_numbers_of_the_recordings(reports: dict[str, Report]) -> None:
    page = PAGE.read_text()
    labels = ("DDP, checkpointing", "FSDP2, rank 1 sleeps 30 ms", "the same, `--rank-reports`")
    for name, label in zip(NAMES, labels, strict=True):
        training = reports[name].training
        assert training is not None
        ratios = (training.mfu_wall, training.hfu_wall, training.mfu_busy)
        shares = " | ".join(f"{100 * (ratio or 0):.1f} %" for ratio in ratios)
        tokens = f"{round(training.tokens_per_s_per_gpu or 0, -2):,.0f}"
        assert f"| {label} | {training.median_wall_ns / 1e6:.1f} ms | {shares} | {tokens} |" in page
    late = [next(rank for rank in reports[name].ranks if rank.is_late) for name in NAMES]
    ddp, one, pair = (f"{(rank.more_ns or 0) / 1e6:.1f} ms" for rank in late)
    assert [(rank.late_phase, rank.reason) for rank in late] == [("backward", "host"), *[("forward", "data")] * 2]
    assert f"in one report ({one} in five steps) and in one for each rank ({pair}), and `host` for the backward" in page
    assert f"of rank 0 of DDP ({ddp})" in page


def test_the_page_divides_right() -> None:
    """Its table by the program's clock: FLOPs of a GPU's step over the time and an H200's peak."""
    table = PAGE.read_text().split("| step without nsys | MFU | HFU |")[1].split("\n\n")[0]
    numbers = [[float(cell.split()[0]) for cell in row.split("|")[2:-1]] for row in table.splitlines()[2:]]

    assert len(numbers) == 4
    for row in numbers:
        for step_ms, mfu, hfu in (row[:3], row[3:]):
            at_peak_ms = 22.600923 / 989.5 * 1e3
            # the page has steps of a tenth of a millisecond
            assert mfu == pytest.approx(100 * at_peak_ms / step_ms, abs=0.08)
            assert hfu / mfu == pytest.approx((22.600923 + 4.948071) / 22.600923, rel=0.004)


def main() -> None:
    """Write the golden results."""
    for name in ALL:
        (GOLDEN / f"{name}.json").write_text(json.dumps(told(report_of(name)), indent=1) + "\n")


if __name__ == "__main__":
    main()
