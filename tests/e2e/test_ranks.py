"""One report for each rank, under a real nsys on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nsys_pipeline.nsys import Nsys
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import PROGRAMS, llmperf, names, run_record

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]

LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TWO_REPORTS = ["trace-rank0.nsys-rep", "trace-rank0.sqlite", "trace-rank1.nsys-rep", "trace-rank1.sqlite"]


def test_builtin_workload(nsys: Nsys, tiny_llama: Path, tmp_path: Path) -> None:
    shape = ("--shape", "2x16", "--new-tokens", "2", "--repeats", "1", "--warmup", "0")
    done = llmperf(
        *("capture", "--model", tiny_llama, "--nproc", "2", "--rank-reports", *shape, "-o", "run"), cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    kept = [name for name in names(tmp_path / "run") if not name.startswith("report")]
    assert kept == ["config.json", "run.json", *TWO_REPORTS, "workload.json", "workload.log"]
    for rank in (0, 1):
        ranges, runs = llmperf_events(tmp_path / "run" / f"trace-rank{rank}.sqlite")
        assert [(run["rank"], run["world"], run["name"]) for run in runs] == [(rank, 2, "tiny-llama")]
        assert [each.name for each in ranges] == ["warmup", "request", "prefill", "decode", "decode"]
    # the report of each follows, and the directory is the whole job
    titles = [line for line in done.stdout.splitlines() if line.startswith("run/")]
    assert titles == ["run/trace-rank0.sqlite", "run/trace-rank1.sqlite"]
    record = run_record(tmp_path / "run")
    assert [trace["file"] for trace in record["traces"]] == ["trace-rank0.sqlite", "trace-rank1.sqlite"]
    assert record["ranges"]["decode"] == 4
    assert any("trace-rank%q{RANK}" in argument for argument in record["nsys_argv"])
    query = "select rank, world from ranks order by rank"
    job = llmperf("sql", "run", query, "--format", "csv", cwd=tmp_path)
    assert job.stdout.splitlines()[1:] == ["0,2", "1,2"], job.stderr


def test_torchrun_of_an_unmodified_script(nsys: Nsys, tmp_path: Path) -> None:
    command = (*LAUNCHER, PROGRAMS / "torchrun_generate.py")
    done = llmperf("capture", "--no-analyze", "--auto", "--rank-reports", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert names(tmp_path / "run") == ["run.json", *TWO_REPORTS, "workload.log"]
    prompts = []
    for rank in (0, 1):
        ranges, runs = llmperf_events(tmp_path / "run" / f"trace-rank{rank}.sqlite")
        assert [run["rank"] for run in runs] == [rank]
        prompts += [each.steps[0].q_tokens for each in ranges if each.name == "prefill"]
    assert prompts == [(8,), (9,)]


def test_ranks_that_train_are_one_job(nsys: Nsys, tmp_path: Path) -> None:
    # given DDP over gloo with checkpointing, three steps in which rank 1 has sequences twice as long
    command = (*LAUNCHER, PROGRAMS / "torchrun_train.py")
    done = llmperf("capture", "--no-analyze", "--auto", "--rank-reports", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert "the same weights: True" in (tmp_path / "run" / "workload.log").read_text()

    job = llmperf("analyze", "run", "--keep-cold", "--format", "json", cwd=tmp_path)

    assert job.code == 0, job.stderr
    report = json.loads(job.stdout)
    assert [(rank["rank"], rank["world"]) for rank in report["ranks"]] == [(0, 2), (1, 2)]
    assert {phase["name"]: phase["occurrences"] for phase in report["phases"]} == {
        "forward": 6, "backward": 6, "optimizer": 6,
    }  # fmt: skip
    # what is computed again inside a backward is no forward of its own, and is counted once
    training = report["training"]
    assert (training["rank_count"], training["steps"], training["micro_batches"], training["left_out"]) == (2, 6, 6, 0)
    assert training["tokens"] == 3 * 2 * (16 + 32)
    assert training["flops"] == 3 * (trained_flops(2, 16) + trained_flops(2, 32))
    assert 0 < training["median_wall_ns"] < training["wall_ns"]


def trained_flops(batch: int, length: int) -> int:
    """Three times a forward of the program's model with all logits: products of the weights, and causal attention."""
    weights = 2 * (64 * 16 * (2 * 4 + 2 * 2) + 3 * 64 * 128) + 64 * 256
    attention = 2 * 4 * 4 * 16 * (length * (length + 1) // 2)
    return 3 * batch * (2 * length * weights + attention)


def test_a_rank_that_fails(nsys: Nsys, tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text(
        "import os, sys, time\nfrom nsys_pipeline.markers import phase\nwith phase('prefill'): pass\n"
        "print('what rank', os.environ['RANK'], 'says', flush=True)\n"
        # torchrun kills the other rank's nsys while it writes, if it still does
        "time.sleep(6 * (os.environ['RANK'] == '1'))\n"
        "sys.exit(3 if os.environ['RANK'] == '1' else 0)\n"
    )
    done = llmperf("capture", "--no-analyze", "--rank-reports", "-o", "run", "--", *LAUNCHER, program, cwd=tmp_path)
    # torchrun says 1 for whatever its ranks say
    assert (done.code, done.stdout) == (1, "")
    assert (
        "error: the workload ended with status 1 (rank 1 failed first, with exit code 3); "
        "the trace covers it up to there\n"
    ) in done.stderr
    # and what the ranks said is shown, not what torchrun says of them
    assert "  | what rank 1 says\n" in done.stderr
    assert "error_file" not in done.stderr
    assert "trace-rank1.sqlite" in names(tmp_path / "run")
    assert [each.name for each in llmperf_events(tmp_path / "run" / "trace-rank1.sqlite")[0]] == ["prefill"]


def test_a_command_without_ranks(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('alone')")
    done = llmperf("capture", "--no-analyze", "--rank-reports", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert "error: no rank was profiled: the command started none\n" in done.stderr
    assert "hint: `--rank-reports` needs torchrun, or a launcher that is built on it" in done.stderr
    assert names(tmp_path / "run") == ["run.json", "workload.log"]


def test_ranks_that_are_started_again(nsys: Nsys, tmp_path: Path) -> None:
    program = tmp_path / "again.py"
    program.write_text(
        "import os, sys, time\nfrom nsys_pipeline.markers import phase\n"
        "attempt = os.environ['TORCHELASTIC_RESTART_COUNT']\n"
        "with phase('prefill' if attempt == '0' else 'decode'): pass\n"
        "time.sleep(6 * (attempt == '0' and os.environ['RANK'] == '1'))\n"
        "sys.exit(3 if attempt == '0' and os.environ['RANK'] == '1' else 0)\n"
    )
    launcher = (*LAUNCHER, "--max-restarts=1")
    done = llmperf("capture", "--no-analyze", "--rank-reports", "-o", "run", "--", *launcher, program, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert "warning: the launcher started its ranks again: each trace is of a rank's last attempt\n" in done.stderr
    assert names(tmp_path / "run") == ["run.json", *TWO_REPORTS, "workload.log"]
    for rank in (0, 1):
        ranges, _ = llmperf_events(tmp_path / "run" / f"trace-rank{rank}.sqlite")
        assert [each.name for each in ranges] == ["decode"]
