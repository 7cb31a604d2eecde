"""The built-in workload under a real nsys on the CPU: phases, occurrences and step shapes are in the trace."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from nsys_pipeline.capture import CapturePlan, capture
from nsys_pipeline.nsys import Nsys
from nsys_pipeline.records import Step
from nsys_pipeline.workload.options import Shape, WorkloadOptions
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import llmperf

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]


def test_result_has_the_rights_of_the_umask(nsys: Nsys, tiny_llama: Path, tmp_path: Path) -> None:
    # nsys starts its target with a umask of 0
    options = ("--shape", "1x4+1", "--repeats", "1", "--warmup", "0", "--device", "cpu")
    previous = os.umask(0o027)
    try:
        done = llmperf("capture", "--no-analyze", "--model", tiny_llama, *options, "-o", "run", cwd=tmp_path)
    finally:
        os.umask(previous)
    assert done.code == 0, done.stderr
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert "workload.json" in files
    assert files == dict.fromkeys(files, 0o640)


def test_phases_occurrences_and_shapes(nsys: Nsys, tiny_llama: Path, tmp_path: Path) -> None:
    # given one warm-up and two measured requests of 2 sequences, 16 prompt tokens and 3 decode steps
    options = WorkloadOptions(
        config=tiny_llama, shapes=(Shape(2, 16, 3),), repeats=2, warmup=1, device="cpu", result=tmp_path / "result.json"
    )
    plan = CapturePlan(command=(sys.executable, "-m", "nsys_pipeline.workload", *options.argv()), name="tiny")

    # when it is captured
    result = capture(plan, nsys=nsys, output=tmp_path / "runs", attempts=3)

    # then every phase is there, once for each pass, warm-up apart, with its shape
    ranges, runs = llmperf_events(result.sqlite)
    assert [r.name for r in ranges if not r.parents] == ["warmup", "request", "request"]
    assert [r.name for r in ranges].count("prefill") == 3
    assert [r.name for r in ranges].count("decode") == 9
    measured = [r for r in ranges if r.parents == ("request",)]
    assert [r.name for r in measured] == ["prefill", "decode", "decode", "decode"] * 2
    assert [r.steps for r in measured[:4]] == [
        (Step.uniform(batch=2, q_tokens=16),),
        (Step.uniform(batch=2, q_tokens=1, kv_tokens=16),),
        (Step.uniform(batch=2, q_tokens=1, kv_tokens=17),),
        (Step.uniform(batch=2, q_tokens=1, kv_tokens=18),),
    ]

    # and the trace describes itself
    assert len(runs) == 1
    assert (runs[0]["v"], runs[0]["model"]["num_hidden_layers"], runs[0]["dtype"]) == (1, 2, "float32")

    # and the run directory is whole
    assert sorted(path.name for path in result.run_dir.iterdir()) == [
        "run.json",
        "trace.nsys-rep",
        "trace.sqlite",
        "workload.log",
    ]
    record = json.loads((result.run_dir / "run.json").read_text())
    assert (record["exit_status"], record["ranges"]["decode"]) == (0, 9)
    assert "2x16+3:" in (result.run_dir / "workload.log").read_text()
    assert "no_gpu_work" in [finding.code for finding in result.findings]
