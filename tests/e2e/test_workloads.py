"""Programs as users have them, under a real nsys on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs
import pytest

from nsys_pipeline.nsys import Nsys
from nsys_pipeline.records import Step
from tests.e2e.conftest import TINY_LLAMA
from tests.e2e.markers_in import llmperf_events, written_in
from tests.e2e.run_llmperf import PROGRAMS, free_port, llmperf, names, run_record, told

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("workload_extra")
def test_unmodified_generate_script(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "plain_generate.py")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    assert told(tmp_path / "run", "tokens: (3, 14)") == ["tokens: (3, 14)"]
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    # max_new_tokens = 4: generate takes the first token from the prefill
    assert [(r.name, r.parents) for r in ranges] == [
        ("request", ()),
        ("prefill", ("request",)),
        *[("decode", ("request",))] * 3,
    ]
    assert [r.steps for r in ranges[1:]] == [
        (Step.uniform(batch=3, q_tokens=10),),
        # A sequence that has ended would go on as padding: a mark behind the request says that none has.
        *(
            (attrs.evolve(Step.uniform(batch=3, q_tokens=1, kv_tokens=cached), may_have_ended=True),)
            for cached in (10, 11, 12)
        ),
    ]
    assert written_in(tmp_path / "run" / "trace.sqlite") == [[4, 4, 4]]
    assert [(run["model"]["model_type"], run["framework"]) for run in runs] == [("llama", "transformers")]


@pytest.mark.usefixtures("workload_extra")
def test_sequences_that_end_early(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "ends_early.py")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    log = (tmp_path / "run" / "workload.log").read_text().splitlines()
    (line,) = [line for line in log if line.startswith("written: ")]
    counts = [int(count) for count in line.split()[1:]]
    assert written_in(tmp_path / "run" / "trace.sqlite") == [counts]
    report = json.loads(llmperf("analyze", "run", "--format", "json", cwd=tmp_path).stdout)
    tokens = {phase["name"]: phase["tokens"] for phase in report["phases"]}
    assert tokens == {"prefill": 40, "decode": sum(counts) - 4}
    assert min(counts) < max(counts)


def test_auto_leaves_other_programs_alone(nsys: Nsys, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('their own sitecustomize')\n")
    program = "import sys; print(sorted(n for n in sys.modules if n in ('torch', 'transformers'))); sys.exit(5)"
    done = llmperf(
        *("capture", "--no-analyze", "--auto", "-o", "run", "--", sys.executable, "-c", program),
        cwd=tmp_path,
        PYTHONPATH=f"{Path(__file__).parents[2]}:{tmp_path}",
    )
    assert done.code == 5
    assert told(tmp_path / "run", "their own sitecustomize", "[]") == ["their own sitecustomize", "[]"]


@pytest.mark.usefixtures("workload_extra")
def test_torchrun_of_two_ranks(nsys: Nsys, tmp_path: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    command = (*launcher, PROGRAMS / "torchrun_generate.py")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert done.code == 0, done.stderr
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    assert sorted((run["rank"], run["world"]) for run in runs) == [(0, 2), (1, 2)]
    prefills = [r for r in ranges if r.name == "prefill"]
    assert sorted(r.steps[0].q_tokens for r in prefills) == [(8,), (9,)]
    assert len({r.thread >> 24 for r in prefills}) == 2
    assert [r.name for r in ranges].count("decode") == 4


@pytest.mark.usefixtures("workload_extra")
@pytest.mark.parametrize("mode", ["tensor", "data"])
def test_builtin_on_two_ranks(nsys: Nsys, tiny_llama: Path, tmp_path: Path, mode: str) -> None:
    shape = ("--shape", "2x16+2", "--repeats", "1", "--warmup", "0", "--layers")
    done = llmperf(
        *("capture", "--no-analyze", "--model", tiny_llama, *shape, "--nproc", "2", "--parallel", mode, "-o", "run"),
        cwd=tmp_path,
    )
    assert done.code == 0, done.stderr
    assert names(tmp_path / "run") == [
        "config.json",
        "run.json",
        "trace.nsys-rep",
        "trace.sqlite",
        "workload.json",
        "workload.log",
    ]
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    degree = {"tensor": (2, 1), "data": (1, 2)}[mode]
    assert [(run["world"], run["tp"], run["dp"]) for run in runs] == [(2, *degree)] * 2
    assert sorted(run["rank"] for run in runs) == [0, 1]
    first = [r.name for r in ranges if r.thread == ranges[0].thread and r.parents[-1:] == ("prefill",)]
    assert first == ["layer.0.attn", "layer.0.mlp", "layer.1.attn", "layer.1.mlp"]


@pytest.mark.usefixtures("workload_extra")
def test_tensor_parallel_computes_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    import subprocess

    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [*launcher, PROGRAMS / "tensor_parallel_logits.py", tiny_llama],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [answer["close"] for answer in answers] == [True, True], done.stderr
    assert all(answer["kept"] < 0.75 for answer in answers)


def test_server_is_recorded_while_the_load_runs(nsys: Nsys, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    recipe = ("--profile", "sglang-serve", "--url", url, "--capture-range", "nvtx", "--nvtx-range", "recording@llmperf")
    load = f"{sys.executable} {PROGRAMS / 'load.py'} {url} 0"
    server = (sys.executable, PROGRAMS / "fake_server.py", str(port))
    done = llmperf("capture", "--no-analyze", *recipe, "--load", load, "-o", "run", "--", *server, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    log = (tmp_path / "run" / "workload.log").read_text()
    assert 'POST /start_profile {"activities": ["CUDA_PROFILER"]}' in log
    assert "stopped in order" in log
    assert (tmp_path / "run" / "load.log").read_text() == "load done\n"
    decodes = [r for r in llmperf_events(tmp_path / "run" / "trace.sqlite")[0] if r.name == "decode"]
    assert len(decodes) == 3


def test_failed_load_is_passed_on(nsys: Nsys, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    recipe = ("--profile", "vllm-serve", "--url", url, "--capture-range", "none")
    load = f"{sys.executable} {PROGRAMS / 'load.py'} {url} 5"
    server = (sys.executable, PROGRAMS / "fake_server.py", str(port))
    done = llmperf("capture", "--no-analyze", *recipe, "--load", load, "-o", "run", "--", *server, cwd=tmp_path)
    assert done.code == 5
    assert "error: the load on the server ended with status 5" in done.stderr
    # Recorded from its start to its end: nobody has to open a range.
    log = (tmp_path / "run" / "workload.log").read_text()
    assert "arguments: []" in log
    assert "POST /generate {}" in log


def test_secrets_are_removed(nsys: Nsys, tmp_path: Path) -> None:
    secret = "hf_thisIsASecretOfTheUser"
    done = llmperf(
        *("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "crash.py"),
        cwd=tmp_path,
        HF_TOKEN=secret,
    )
    assert done.code == 7
    for path in (tmp_path / "run").iterdir():
        if path.suffix != ".nsys-rep":
            assert secret.encode() not in path.read_bytes(), path
    if secret.encode() in (tmp_path / "run" / "trace.nsys-rep").read_bytes():
        assert "warning: the .nsys-rep holds the environment variables" in done.stderr


def test_secret_that_the_workload_prints_is_reported(nsys: Nsys, tmp_path: Path) -> None:
    program = "import os; print(os.environ['MY_API_KEY'])"
    done = llmperf(
        *("capture", "--no-analyze", "-o", "run", "--", sys.executable, "-c", program),
        cwd=tmp_path,
        MY_API_KEY="printed-for-all-to-see",
    )
    everywhere = "trace.nsys-rep, trace.sqlite and workload.log"
    assert f"warning: the value of MY_API_KEY is in {everywhere}" in done.stderr
    assert "do not share trace.nsys-rep, trace.sqlite or workload.log\n" in done.stderr
    # one statement, that nothing contradicts
    assert done.stderr.count("share") == 1
    assert "is clean" not in done.stderr


def test_secret_on_the_command_line_is_not_in_the_record(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf(
        *("capture", "--no-analyze", "-o", "run", "--", "env", "DB_PASSWORD=given-in-the-open", "true", "my-own-token"),
        cwd=tmp_path,
        HF_TOKEN="my-own-token",
    )
    assert done.code == 0
    text = (tmp_path / "run" / "run.json").read_text()
    assert "given-in-the-open" not in text
    assert "my-own-token" not in text
    assert run_record(tmp_path / "run")["plan"]["command"] == ["env", "DB_PASSWORD=***", "true", "***"]


def test_secrets_on_the_command_line_are_in_no_file_but_the_report(nsys: Nsys, tmp_path: Path) -> None:
    token, key, password = "hf_abcdefghijklmnop", "sk_0123456789abcdef", "pass-word-1234"
    arguments = ("--token", token, f"--api-key={key}", f"https://me:{password}@example.com/x")
    done = llmperf(
        *("capture", "--no-analyze", "-o", "run", "--", sys.executable, "-c", "pass", *arguments), cwd=tmp_path
    )
    assert done.code == 0
    for path in (tmp_path / "run").iterdir():
        for secret in (token, key, password):
            assert path.suffix == ".nsys-rep" or secret.encode() not in path.read_bytes(), path
    words = run_record(tmp_path / "run")["plan"]["command"]
    assert words[-4:] == ["--token", "***", "--api-key=***", "https://me:***@example.com/x"]
    # nsys' own file holds them, and that is said
    assert "warning: the value of --token is in trace.nsys-rep; " in done.stderr
    assert "do not share trace.nsys-rep\n" in done.stderr


def test_arguments_that_are_not_utf8(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--no-analyze", "-o", "run", "--", "echo", "w\udce9", cwd=tmp_path)
    # nsys 2024.2 refuses them itself; what was tried is recorded all the same
    assert "bug in llmperf" not in done.stderr
    assert run_record(tmp_path / "run")["plan"]["command"] == ["echo", "w\udce9"]


def test_unknown_trace_is_named(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--trace", "foo,nvtx", "-o", "run", "--", "true", cwd=tmp_path)
    assert done.code == 3
    assert "foo" in done.stderr.partition("error: ")[2].splitlines()[0]


def test_environment_can_be_kept(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf(
        *("capture", "--no-analyze", "--keep-environment", "-o", "run", "--", "true"),
        cwd=tmp_path,
        SOME_SETTING="kept-on-purpose",
    )
    assert done.code == 0
    assert b"kept-on-purpose" in (tmp_path / "run" / "trace.sqlite").read_bytes()
    assert b"kept-on-purpose" not in (tmp_path / "run" / "run.json").read_bytes()


def test_dry_run(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--dry-run", "--gpu-metrics", "--cuda-graph", "whole", "--", "my app", cwd=tmp_path)
    assert done.code == 0
    assert f"\n{nsys.path} profile --trace=cuda,nvtx --sample=none --cpuctxsw=none" in done.stdout
    assert "--cuda-graph-trace=graph" in done.stdout
    assert done.stdout.endswith(" 'my app'\n")
    assert names(tmp_path) == []


def test_export(nsys: Nsys, tmp_path: Path) -> None:
    llmperf("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "crash.py", cwd=tmp_path)
    report = tmp_path / "run" / "trace.nsys-rep"

    done = llmperf("export", report, "-o", "again.sqlite", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "again.sqlite\n")
    assert [r.name for r in llmperf_events(tmp_path / "again.sqlite")[0]] == ["prefill"]

    done = llmperf("export", report, "--format", "parquet", "-o", "again.parquet", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "again.parquet\n")
    assert "NVTX_EVENTS.parquet" in names(tmp_path / "again.parquet")

    refused = llmperf("export", report, "-o", "again.sqlite", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")


def test_export_of_a_newer_report(nsys: Nsys, tmp_path: Path) -> None:
    report = tmp_path / "new.nsys-rep"
    report.write_bytes(b"NVIDIA Tegra Profiler Report 2099@1@1@7-0.\nrest")
    done = llmperf("export", report, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert f"was written by Nsight Systems 2099.1.1, newer than the installed {nsys.version_short}" in done.stderr
    assert names(tmp_path) == ["new.nsys-rep"]


def test_export_of_a_damaged_report(nsys: Nsys, tmp_path: Path) -> None:
    report = tmp_path / "bad.nsys-rep"
    report.write_bytes(f"NVIDIA Tegra Profiler Report {nsys.version[0]}@{nsys.version[1]}@1@7-0.\nrest".encode())
    done = llmperf("export", report, cwd=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert f"error: nsys cannot read `{report}`: Exportation error: " in done.stderr
    assert names(tmp_path) == ["bad.nsys-rep"]


def test_doctor(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("doctor", cwd=tmp_path)
    assert f"ok       nsys                      {nsys.version_text}" in done.stdout
    assert "ok       importer" in done.stdout
    checks = json.loads(llmperf("doctor", "--format", "json", cwd=tmp_path).stdout)
    assert {check["status"] for check in checks} <= {"ok", "note", "problem"}
    assert done.code == (1 if any(check["status"] == "problem" for check in checks) else 0)


def test_run_record_names_no_values(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", "true", cwd=tmp_path)
    assert done.code == 0
    record = run_record(tmp_path / "run")
    assert record["plan"]["environment_names"] == ["PYTHONPATH"]
    assert "environment" not in record["plan"]
    assert TINY_LLAMA["model_type"] not in json.dumps(record)
