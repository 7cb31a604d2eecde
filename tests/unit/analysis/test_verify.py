"""`--verify` finds what differs: against a `nsys stats` whose reports the test writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nsys_pipeline.cli.app import app
from nsys_pipeline.crosscheck import verify
from nsys_pipeline.errors import NsysError, UsageError
from nsys_pipeline.records import Verification
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.fake_nsys import fake_nsys
from tests.support.parquet_export import to_parquetdir
from tests.support.trace_builder import TraceBuilder

KERNELS = "Time (%),Total Time (ns),Instances,Name\n100.0,15,2,gemm\n"
RANGES = (
    "NVTX Range,Style,PID,TID,NVTX Inst,Kern Inst,Total Time (ns),Kernel Name\ndecode,PushPop,100,100,1,2,15,gemm\n"
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    builder = TraceBuilder()
    main = builder.process(100).thread()
    main.push(0, 50, "decode").launch(10, gpu=(20, 30), name="gemm").launch(15, gpu=(30, 35), name="gemm")
    return builder.write(tmp_path / "trace.sqlite")


def verified(trace: Path, nsys: Path) -> Verification:
    with open_trace(trace, TraceOptions(use_cache=False, nsys=str(nsys))) as opened:
        return verify(opened)


def test_equal_reports(trace: Path, tmp_path: Path) -> None:
    nsys = fake_nsys(tmp_path, reports={"cuda_gpu_kern_sum": KERNELS, "nvtx_kern_sum": RANGES})

    found = verified(trace, nsys)

    assert (found.differences, found.unexplained) == ([], 0)
    assert found.rows == {"cuda_gpu_kern_sum": 1, "nvtx_kern_sum": 1}


@pytest.mark.parametrize(
    ("kernels", "ranges", "row"),
    [
        (KERNELS.replace(",2,gemm", ",3,gemm"), RANGES, "gemm"),
        (KERNELS.replace(",15,", ",16,"), RANGES, "gemm"),
        (KERNELS, RANGES.replace(",2,15,", ",2,14,"), "decode · PushPop · 100 · 100 · gemm"),
        (KERNELS, RANGES.replace(",1,2,", ",1,1,"), "decode · PushPop · 100 · 100 · gemm"),
        (KERNELS, RANGES + "prefill,PushPop,100,100,1,1,5,gemm\n", "prefill · PushPop · 100 · 100 · gemm"),
        (KERNELS + "0.0,5,1,softmax\n", RANGES, "softmax"),
    ],
    ids=["count", "time", "range time", "range count", "range that is not there", "kernel that is not there"],
)
def test_any_other_number_is_an_unexplained_difference(
    kernels: str, ranges: str, row: str, trace: Path, tmp_path: Path
) -> None:
    nsys = fake_nsys(tmp_path, reports={"cuda_gpu_kern_sum": kernels, "nvtx_kern_sum": ranges})

    found = verified(trace, nsys)

    assert [(difference.row, difference.reason) for difference in found.differences] == [(row, None)]
    assert found.unexplained == 1


def test_a_row_that_nsys_lacks_is_a_difference(trace: Path, tmp_path: Path) -> None:
    header = RANGES.partition("\n")[0] + "\n"
    nsys = fake_nsys(tmp_path, reports={"cuda_gpu_kern_sum": KERNELS, "nvtx_kern_sum": header})

    assert verified(trace, nsys).unexplained == 1


def test_the_command_exits_1_and_shows_both_numbers(trace: Path, tmp_path: Path) -> None:
    wrong = RANGES.replace(",2,15,", ",2,14,")
    nsys = fake_nsys(tmp_path, reports={"cuda_gpu_kern_sum": KERNELS, "nvtx_kern_sum": wrong})

    done = CliRunner().invoke(app, ["analyze", str(trace), "--no-cache", "--verify", "--nsys", str(nsys)])

    assert done.exit_code == 1
    assert "error: 1 difference(s) from `nsys stats` for no known reason" in done.stderr
    line = "nsys 2 kernels, 14 ns, llmperf 2 kernels, 15 ns: unexplained"
    assert line in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("reports", "said", "message"),
    [
        ({}, "", "failed on .*: nothing"),
        ({"nvtx_kern_sum": RANGES}, "ERROR: Report 'cuda_gpu_kern_sum.py' had no memory", "had no memory"),
        ({"cuda_gpu_kern_sum": KERNELS, "nvtx_kern_sum": "NVTX Range,Style\ndecode,PushPop\n"}, "", "not understood"),
    ],
    ids=["no output", "an ERROR line", "other columns"],
)
def test_a_stats_that_fails_with_exit_code_0_is_an_error(
    reports: dict[str, str], said: str, message: str, trace: Path, tmp_path: Path
) -> None:
    nsys = fake_nsys(tmp_path, reports=reports, said=said)

    with pytest.raises(NsysError, match=message):
        verified(trace, nsys)


def test_a_parquet_folder_cannot_be_verified(trace: Path, tmp_path: Path) -> None:
    folder = to_parquetdir(trace, tmp_path / "parquet")

    with pytest.raises(UsageError, match="cannot read the Parquet folder"):
        verified(folder, fake_nsys(tmp_path))
