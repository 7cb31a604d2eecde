"""`llmperf gpus`: peaks with their sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.hardware import measured as storage
from nsys_pipeline.hardware.measured import Measured, store_measured
from tests.cli.test_flops import run


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "measured_path", lambda: tmp_path / "measured.json")


def test_all_gpus_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "gpus")
    assert (code, err) == (0, "")
    for text in ("H100 SXM", "989.4", "3350", "H100 Tensor Core GPU Architecture whitepaper"):
        assert text in out


def test_one_gpu_as_cuda_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "gpus", "NVIDIA H200", "--format", "json")
    data = json.loads(out)
    assert code == 0
    assert data["schema"] == "llmperf.gpus/1"
    assert [gpu["name"] for gpu in data["gpus"]] == ["H200 SXM"]
    assert data["gpus"][0]["bandwidth_bytes_per_s"] == 4.8e12
    assert data["gpus"][0]["source"]


def test_a_measured_ceiling_stands_beside_the_datasheet(capsys: pytest.CaptureFixture[str]) -> None:
    store_measured(
        Measured(
            name="NVIDIA H100 80GB HBM3", flops_per_s={"bf16": 798e12}, bandwidth_bytes_per_s=3e12, method="8192^3 GEMM"
        )
    )
    _, out, _ = run(capsys, "gpus", "h100 sxm")
    assert "989.4" in out
    assert "measured on NVIDIA H100 80GB HBM3: bf16 798 TFLOP/s; copy 3000 GB/s" in out


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("gpus", "nonesuch"), 1, "no GPU named `nonesuch`"),
        (("gpus", "NVIDIA H20 96GB"), 1, "known by a similar name: H20\n"),
        (("gpus", "--format", "yaml"), 2, "not an output format"),
        (("gpus", "H100", "--measure"), 2, "takes the GPU of this machine"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, message: str) -> None:
    got, out, err = run(capsys, *argv)
    assert (got, out) == (code, "")
    assert message in err
