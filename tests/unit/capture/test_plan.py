"""The nsys command line of a plan."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.capture import CapturePlan, nsys_argv
from nsys_pipeline.capture.ranks import RANK_PYTHON, rank_argv, rank_wrapper, started_ranks
from nsys_pipeline.errors import NsysError, UsageError
from nsys_pipeline.nsys import Nsys

OLD = Nsys(Path("/x/nsys"), (2024, 2, 3), "2024.2.3", frozenset({"gpu-metrics-device", "python-sampling"}), frozenset())
NEW = attrs.evolve(
    OLD, profile_flags=frozenset({"gpu-metrics-devices", "discard-environment", "trace-fork-before-exec"})
)


def argv(nsys: Nsys = OLD, **settings: object) -> list[str]:
    plan = CapturePlan(command=("python", "my script.py"), **settings)  # type: ignore[arg-type]
    return nsys_argv(nsys, plan, Path("out/trace"))


def test_low_overhead_by_default() -> None:
    assert argv() == [
        "/x/nsys",
        "profile",
        "--trace=cuda,nvtx",
        "--sample=none",
        "--cpuctxsw=none",
        "--cuda-graph-trace=node",
        "--output=out/trace",
        "python",
        "my script.py",
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cuda_graph": "whole"}, ["--cuda-graph-trace=graph"]),
        ({"gpu_metrics": "all"}, ["--gpu-metrics-device=all"]),
        ({"delay_s": 2.5, "duration_s": 10.0}, ["--delay=2.5", "--duration=10"]),
        ({"capture_range": "profiler"}, ["--capture-range=cudaProfilerApi", "--capture-range-end=stop"]),
        ({"capture_range": "nvtx"}, ["--capture-range=nvtx", "--nvtx-capture=request@llmperf"]),
        ({"samples_python": True}, ["--python-sampling=true", "--python-sampling-frequency=1000"]),
        ({"nsys_args": ["--wait=primary"]}, ["--wait=primary"]),
        ({"traces": ("cuda", "nvtx", "osrt")}, ["--trace=cuda,nvtx,osrt"]),
    ],
)
def test_settings(settings: dict[str, Any], expected: list[str]) -> None:
    assert set(expected) <= set(argv(**settings))


def test_a_trace_without_cuda_has_no_cuda_options() -> None:
    assert not [part for part in argv(traces=("nvtx",)) if "cuda-graph" in part]


def test_flags_are_those_of_the_version() -> None:
    assert "--gpu-metrics-devices=all" in argv(NEW, gpu_metrics="all")
    assert "--discard-environment=true" in argv(NEW)
    assert "--discard-environment=true" not in argv(NEW, keep_environment=True)
    assert "--trace-fork-before-exec=true" in argv(NEW, trace_forks=True)
    with pytest.raises(NsysError, match="has no option `--trace-fork-before-exec`"):
        argv(OLD, trace_forks=True)


def test_impossible_plans() -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        CapturePlan(command=())
    with pytest.raises(UsageError, match="unknown capture range"):
        CapturePlan(command=("a",), capture_range="often")
    with pytest.raises(UsageError, match="two ways"):
        CapturePlan(command=("a",), capture_range="nvtx", duration_s=1)


def test_one_report_for_each_rank() -> None:
    plan = CapturePlan(command=("torchrun", "my script.py"), rank_reports=True)
    argv = rank_argv(OLD, plan, Path("out dir/trace"), "/venv/python")
    assert argv[-3:] == ["--output=out dir/trace-rank%q{RANK}", "--force-overwrite=true", "/venv/python"]


def test_the_script_that_runs_a_rank(tmp_path: Path) -> None:
    script = tmp_path / "a dir" / RANK_PYTHON
    script.parent.mkdir()
    script.write_text(rank_wrapper(["printf", "%s|", "--output=out dir/trace-rank%q{RANK}"]))
    script.chmod(0o755)
    assert not started_ranks(script.parent)
    # the shell passes the arguments of torchrun on, and nsys sees its own unchanged
    for rank in (11, 3):
        ranked = {**os.environ, "RANK": str(rank)}
        done = subprocess.run([script, "-u", "my script.py"], env=ranked, capture_output=True, text=True, check=True)
    assert done.stdout == "--output=out dir/trace-rank%q{RANK}|-u|my script.py|"
    assert started_ranks(script.parent) == {"3": 1, "11": 1}
