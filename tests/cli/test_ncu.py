"""`llmperf ncu`: the command that it prints, a report read back, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.run import run
from tests.support.small_trace import small_trace

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
        (["--read", str(trace)], "no table of kernels"),
        (["--run", "--ncu", "/no/ncu", "--", "true"], "`/no/ncu` cannot be run"),
    ):
        code, out, err = run(capsys, "ncu", trace, *arguments)
        assert (code in (1, 2, 3), out) == (True, ""), arguments
        assert said in err


def test_sums_are_compared_with_the_estimate_only_if_every_kernel_was_profiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    names = [f"kernel_{index % 7}" for index in range(10, 20)]
    rows = "".join(f'"{index}","{name}","100","10","20"\n' for index, name in enumerate(names))
    (tmp_path / "ncu.csv").write_text(CSV[: CSV.index('"0"')] + rows)
    read = ("ncu", trace, "--read", tmp_path / "ncu.csv", "--format", "json")

    whole = json.loads(run(capsys, *read, "--top", "0")[1])
    some = json.loads(run(capsys, *read, "--top", "7")[1])

    assert (whole["is_whole_occurrence"], some["is_whole_occurrence"]) == (True, False)
