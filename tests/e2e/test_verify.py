"""`--verify` with a real `nsys stats`: every shared trace agrees, and where nsys is wrong the reason is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.crosscheck import verify
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys import Nsys
from nsys_pipeline.records import Verification
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.e2e.run_llmperf import llmperf
from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES

pytestmark = pytest.mark.e2e

# Phases in which nsys' ranges hold other kernels: phase → reason → kernels.
REAL_REASONS: dict[str, dict[str, dict[str, int]]] = {
    "h100_train": {"backward": {"other_thread": 1065}},
}
EDGE_REASONS: dict[str, dict[str, dict[str, int]]] = {
    "autograd_thread": {"backward": {"other_thread": 2}, "step": {"inner_phase": 1, "other_thread": 1}},
    "call_that_ends_after_its_range": {"prefill": {"call_outlives_range": 1}},
    "checkpointed_forward": {"backward": {"other_thread": 2}},
    "autograd_by_name_and_by_range": {"backward": {"other_thread": 2}},
    "helper_with_a_range": {"prefill": {"other_thread": 2}},
    "libraries_on_another_thread": {"backward": {"other_thread": 3}},
    "our_own_mark_and_another": {"decode": {"inner_phase": 1}},
    "rest_of_a_step": {"step": {"inner_phase": 4}},
    "step_that_starts_with_its_part": {"step": {"inner_phase": 1}},
    "lost_pop_beside_a_sibling_and_under_another_domain": {
        "decode": {"unclosed_range": 1}, "speculate": {"unclosed_range": 1},
    },
    "phase_inside_a_phase": {"prefill": {"inner_phase": 1}},
    "pushes_that_were_never_popped": {"decode": {"unclosed_range": 1}, "prefill": {"unclosed_range": 1}},
    "ranges_that_start_together": {"prefill": {"inner_phase": 1}},
    "a_range_starts_in_the_nanosecond_in_which_a_phase_ends": {"prefill": {"call_outlives_range": 1}},
    "ranges_that_touch": {"decode": {"call_outlives_range": 1}},
    "times_since_1970": {"prefill": {"call_outlives_range": 1}},
    "start_end_range_that_ends_on_another_thread": {"decode": {"ended_on_another_thread": 1, "other_thread": 1}},
    "start_end_ranges_are_an_overlay": {"decode": {"inner_phase": 1}},
}  # fmt: skip
# Rows of nsys' reports that are wrong, and why.
EDGE_DIFFERENCES = {
    "backtrace_duplicates": ["calls_recorded_twice"],
    "correlation_id_zero": ["ambiguous_correlation"] * 2,
    "pid_that_was_used_twice": ["ambiguous_correlation"] * 2,
}
# `nsys stats` itself fails on these: it wants globalPid, UTF-8 and ids that are positive.
NSYS_FAILS = ("ids_with_all_bits", "no_global_pid", "no_global_pid_and_two_processes", "text_that_is_not_utf8")


def verified(path: Path, nsys: Nsys) -> Verification:
    with open_trace(path, TraceOptions(use_cache=False, nsys=str(nsys.path))) as trace:
        return verify(trace)


def reasons(found: Verification) -> dict[str, dict[str, int]]:
    return {
        phase.phase: {reason: kernels for reason, (kernels, _) in phase.reasons.items()}
        for phase in found.phases
        if phase.reasons
    }


@pytest.mark.parametrize("name", real_traces.NAMES)
def test_every_shared_trace_agrees(name: str, nsys: Nsys) -> None:
    found = verified(real_traces.TRACES / f"{name}.sqlite.xz", nsys)

    assert found.differences == []
    assert reasons(found) == REAL_REASONS.get(name, {})
    assert min(found.rows.values()) > 30
    graphs = {phase.phase: phase.graph_launch_count for phase in found.phases if phase.graph_launch_count}
    assert graphs == ({"decode": 32} if name == "h100_cuda_graph_whole" else {})


@pytest.mark.parametrize("name", [name for name in EDGE_TRACES if name not in NSYS_FAILS])
def test_every_edge_trace_agrees_or_says_why(name: str, nsys: Nsys, tmp_path: Path) -> None:
    found = verified(EDGE_TRACES[name]().write(tmp_path / "trace.sqlite"), nsys)

    assert found.unexplained == 0
    assert reasons(found) == EDGE_REASONS.get(name, {})
    assert [difference.reason for difference in found.differences] == EDGE_DIFFERENCES.get(name, [])


@pytest.mark.parametrize("name", NSYS_FAILS)
def test_a_report_that_nsys_cannot_make_is_an_error_of_nsys(name: str, nsys: Nsys, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")

    with pytest.raises(NsysError, match="internal error"):
        verified(path, nsys)


def test_the_command_prints_the_comparison_and_leaves_nothing_behind(nsys: Nsys, tmp_path: Path) -> None:
    folder = tmp_path / "it's 100% here?"
    folder.mkdir()
    path = EDGE_TRACES["autograd_thread"]().write(folder / "a, b.sqlite")

    done = llmperf("analyze", path, "--verify", "--nsys", nsys.path, cwd=tmp_path)

    assert (done.code, done.stderr) == (0, "")
    printed = " ".join(done.stdout.split())
    assert "rows 1 of cuda_gpu_kern_sum and 4 of nvtx_kern_sum; all equal" in printed
    assert "backward: 2 kernels here, 0 in nsys' ranges" in printed
    assert [entry.name for entry in folder.iterdir()] == ["a, b.sqlite"]
