"""`llmperf ncu`: the command that it prints, a report read back, and what it refuses."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from nsys_pipeline.cli.recorded import Workload
from tests.cli.run import run
from tests.support.small_trace import small_trace
from tests.support.trace_builder import TraceBuilder

CSV = """"ID","Kernel Name","gpu__time_duration.sum","dram__bytes_read.sum","dram__bytes_write.sum"
"","","ns","byte","byte"
"0","kernel_0(int)","100","10","20"
"""


def test_the_command_comes_from_the_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_trace().write(tmp_path / "trace.sqlite")
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"command": ["python", "my script.py"]}}))

    code, out, err = run(capsys, "ncu", tmp_path, "--top", "2")

    assert (code, err) == (0, "")
    argv = shlex.split(out)
    assert argv[-2:] == ["python", "my script.py"]
    assert argv[argv.index("--nvtx-include") + 1] == "decode/"
    assert argv[argv.index("--launch-count") + 1] == "4"


def test_the_workload_runs_with_the_marks_of_its_capture(tmp_path: Path) -> None:
    # given a capture with --auto, and one of the built-in workload
    built_in = ["python", "-m", "nsys_pipeline.workload", "--result", "workload.json", "--repeats", "1"]
    runs = []
    for plan in ({"command": ["python", "x.py"], "auto": True}, {"command": built_in, "auto": False}):
        (tmp_path / "run.json").write_text(json.dumps({"plan": plan}))
        runs.append(Workload.of(tmp_path, None))

    first, second = (Path(one.environment["PYTHONPATH"].partition(os.pathsep)[0]) for one in runs)
    assert (first / "sitecustomize.py").is_file()
    assert (second / "nsys_pipeline").is_dir()
    assert runs[0].command == ("python", "x.py")
    # The times of the capture are not written over.
    assert runs[1].command == ("python", "-m", "nsys_pipeline.workload", "--repeats", "1")
    # Another command has the marks, too; a trace of others has none.
    assert Workload.of(tmp_path, ["python", "y.py"]).environment == {}
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"command": ["python", "x.py"], "auto": True}}))
    assert Workload.of(tmp_path, ["python", "y.py"]).environment == runs[0].environment


def test_the_metrics_are_those_of_the_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given an A100, which counts products of fp16 apart from those of bf16
    trace = TraceBuilder().gpu(name="NVIDIA A100-SXM4-80GB", compute=(8, 0))
    main = trace.process().thread()
    main.push(0, 100, "decode").launch(10, gpu=(20, 40), name="gemm")

    _, out, _ = run(capsys, "ncu", trace.write(tmp_path / "trace.sqlite"), "--", "x")

    argv = shlex.split(out)
    metrics = argv[argv.index("--metrics") + 1].split(",")
    assert [f"sm__ops_path_tensor_src_{kind}_dst_fp32.sum" in metrics for kind in ("bf16", "fp16")] == [True, True]
    assert "gpu__time_duration.sum" in metrics


def test_a_phase_is_named_and_defined_by_one_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")

    _, out, _ = run(capsys, "ncu", trace, "--phase", "mine=^decode$", "--phase", "mine", "--", "x")

    argv = shlex.split(out)
    assert argv[argv.index("--nvtx-include") + 1] == "decode/"


def test_a_csv_is_read_back_beside_the_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    (tmp_path / "ncu.csv").write_text(CSV)

    _, out, _ = run(capsys, "ncu", trace, "--read", tmp_path / "ncu.csv", "--format", "json")

    answer = json.loads(out)
    (kernel,) = answer["kernels"]
    assert kernel | {"in_occurrence": None} == {
        "name": "kernel_0", "count": 1, "time_ns": 100, "flops": None, "dram_bytes": 30, "traced_mean_ns": 50,
        "in_occurrence": None, "operators": [], "estimate_source": None, "estimated_flops": None,
        "estimated_bytes": None, "no_estimate": kernel["no_estimate"],
    }  # fmt: skip
    assert kernel["no_estimate"] is not None
    assert answer["is_whole_occurrence"] is False


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")

    for arguments, said in (
        ([], "nobody recorded which workload"),
        (["--phase", "backward"], "no kernel in a phase `backward`"),
        (["--phase", "prefill", "--phase", "decode"], "are two phases"),
        (["--phase", "=x"], "is not NAME=REGEX"),
        (["--read", str(tmp_path / "no.csv")], "cannot be read"),
        (["--read", str(trace)], f"`{trace}`: there is no table of kernels"),
        (["--run", "--ncu", "/no/ncu", "--", "true"], "`/no/ncu` cannot be run"),
        (["--read", str(trace), "--run"], "--read and --run exclude each other"),
        (["-o", "out_%p", "--", "true"], "`out_%p` has a macro"),
    ):
        code, out, err = run(capsys, "ncu", trace, *arguments)
        assert (code in (1, 2, 3), out) == (True, ""), arguments
        assert said in err


def test_the_report_is_the_file_that_ncu_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an ncu that writes to what --export says, and a report of that name
    trace = small_trace().write(tmp_path / "trace.sqlite")
    program = tmp_path / "ncu"
    (tmp_path / "answer.csv").write_text(CSV)
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = --import ]; then cat "{tmp_path}/answer.csv"; else echo new > "$3"; fi\n'
    )
    program.chmod(0o755)
    report = tmp_path / "k.v1.ncu-rep"
    report.write_text("old")
    asked = ("ncu", trace, "--run", "--ncu", program, "-o", tmp_path / "k.v1")

    code, out, err = run(capsys, *asked, "--", "true")
    assert (code, out, report.read_text()) == (2, "", "old")
    assert f"`{report}` exists" in err

    with (tmp_path / "stderr").open("w") as stream:  # a file, which ncu can write to
        monkeypatch.setattr("sys.stderr", stream)
        code, out, _ = run(capsys, *asked, "--force", "--", "true")
    assert (code, report.read_text()) == (0, "new\n")
    assert "kernel_0" in out


def test_sums_are_compared_with_the_estimate_only_if_every_kernel_was_profiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    names = [f"kernel_{index % 7}" for index in range(10, 20)]
    rows = "".join(f'"{index}","{name}","100","10","20"\n' for index, name in enumerate(names))
    (tmp_path / "ncu.csv").write_text(CSV[: CSV.index('"0"')] + rows)
    read = ("ncu", trace, "--read", tmp_path / "ncu.csv", "--format", "json")

    whole = json.loads(run(capsys, *read, "--top", "1")[1])
    (tmp_path / "ncu.csv").write_text(CSV[: CSV.index('"0"')] + rows.partition("\n")[2])
    some = json.loads(run(capsys, *read)[1])

    assert (whole["is_whole_occurrence"], some["is_whole_occurrence"]) == (True, False)
    # Every kernel of the profile is joined, whatever --top says.
    assert [kernel["traced_mean_ns"] for kernel in whole["kernels"]] == [50] * 7


def two_ranks(*, is_masked: bool = False, stream: int = 7) -> TraceBuilder:
    """Two ranks, each with a GPU. A step: gemm, the all-reduce of NCCL, gemm, one of DeepEP's kernels.

    `is_masked`: under CUDA_VISIBLE_DEVICES each calls its GPU 0. `stream` is that of NCCL's kernels.
    """
    trace = TraceBuilder().gpu(0).gpu(1)
    for gpu in (0, 1):
        device = 0 if is_masked else gpu
        trace.row("TARGET_INFO_CUDA_DEVICE", gpuId=gpu, cudaId=device, pid=100 + gpu)
        main = trace.process(100 + gpu).thread()
        for start in (10, 60):
            main.push(start, start + 40, "decode")
            for index, name in enumerate(("gemm", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "gemm", "dispatch")):
                at = start + 1 + 9 * index
                full = f"void deep_ep::intranode::{name}<8>(int)" if name == "dispatch" else name
                own = stream if name.startswith("nccl") else 7
                work = (at + 2, at + 8)
                main.launch(at, gpu=work, name=name, demangledName=trace.string(full), device=device, stream=own)
    return trace


def test_kernels_that_communicate_are_left_out_and_one_rank_is_profiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = two_ranks().write(tmp_path / "trace.sqlite")

    code, out, err = run(capsys, "ncu", trace, "--top", "0", "--", "torchrun", "x.py")

    argv = shlex.split(out)
    assert (code, argv[argv.index("--kernel-name") + 1]) == (0, "regex:^(gemm)$")
    assert (argv[argv.index("--devices") + 1], argv[argv.index("--launch-count") + 1]) == ("0", "2")
    assert "2 launches that communicate are not profiled, 50.0% of the kernel time of `decode`" in err
    assert "`dispatch`, `ncclDevKernel_AllReduce_Sum_bf16_RING_LL`" in err
    assert "the job has 2 ranks, and one is profiled, the one on GPU 0" in err
    assert "stream of their own" not in err


def test_ranks_that_call_their_gpus_alike_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = two_ranks(is_masked=True, stream=17).write(tmp_path / "trace.sqlite")

    _, out, err = run(capsys, "ncu", trace, "--top", "1", "--", "torchrun", "x.py")

    assert "regex:^(gemm)$" in out
    assert "--devices" not in out
    assert "the job has 2 ranks, and each calls its GPU 0, so that ncu cannot choose one" in err
    # NCCL's kernels are on a stream of their own.
    assert "ncu was seen to stop at the first kernel beside one" in err


def test_a_name_that_communicates_anywhere_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given two functions of one name, as ncu selects them: only one communicates, and not in this phase
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.launch(1, gpu=(2, 4), name="combine", demangledName=trace.string("void deep_ep::combine<8>(int)"))
    main.push(10, 40, "decode")
    main.launch(11, gpu=(12, 14), name="combine", demangledName=trace.string("void mine::combine<8>(int)"))
    main.launch(15, gpu=(16, 18), name="gemm")
    path = trace.write(tmp_path / "t.sqlite")

    _, out, err = run(capsys, "ncu", path, "--", "x")

    assert "regex:^(gemm)$" in out
    assert "--devices" not in out
    assert "1 launch that communicates is not profiled" in err


def test_a_profile_of_several_gpus_is_held_against_the_one_of_the_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = two_ranks().write(tmp_path / "trace.sqlite")
    rows = "".join(
        f'"{index}","{900 + device}","{name}","{device}","{time}"\n'
        for index, (device, name, time) in enumerate(
            [(1, "gemm", 70), (0, "gemm", 100), (1, "gemm", 80), (0, "gemm", 200)]
        )
    )
    (tmp_path / "ncu.csv").write_text(
        f'"ID","Process ID","Kernel Name","Device","gpu__time_duration.sum"\n"","","","","ns"\n{rows}'
    )

    _, out, err = run(capsys, "ncu", trace, "--read", tmp_path / "ncu.csv", "--format", "json")

    (kernel,) = json.loads(out)["kernels"]
    assert (kernel["count"], kernel["time_ns"]) == (2, 300)
    assert json.loads(out)["is_whole_occurrence"] is True
    assert "2 kernels of other GPUs left out, the trace's ran on GPU 0" in err


def test_a_profile_of_another_program_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    (tmp_path / "ncu.csv").write_text(CSV.replace("kernel_0", "of_another_program"))

    code, out, err = run(capsys, "ncu", trace, "--read", tmp_path / "ncu.csv")

    assert (code, out) == (1, "")
    assert "ncu.csv` is in the trace" in err
    assert "`of_another_program`" in err


def test_a_profile_that_shares_one_name_with_the_trace_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    (tmp_path / "ncu.csv").write_text(f'{CSV}"1","strange","300","10","20"\n')

    code, _, err = run(capsys, "ncu", trace, "--read", tmp_path / "ncu.csv")

    assert code == 0
    assert "kernels with 75% of its time are not in the trace" in err


def test_damage_is_told_and_what_is_whole_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given four launches, the last one cut, as PowerShell writes it
    trace = small_trace().write(tmp_path / "trace.sqlite")
    rows = "".join(f'"{index}","kernel_0","100","10","20"\n' for index in range(1, 4))
    (tmp_path / "ncu.csv").write_text((CSV + rows)[:-4], encoding="utf-16")

    code, out, err = run(capsys, "ncu", trace, "--read", tmp_path / "ncu.csv", "--format", "json")

    (kernel,) = json.loads(out)["kernels"]
    assert (code, kernel["count"], kernel["time_ns"], kernel["dram_bytes"]) == (0, 3, 300, 90)
    assert "line 6 is damaged or cut short: this launch of `kernel_0` is left out" in err
