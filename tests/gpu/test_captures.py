"""Captures of small models on a real GPU, analyzed and compared with nsys' own reports: `pytest -m gpu`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.run_llmperf import PROGRAMS, llmperf

pytestmark = pytest.mark.gpu

REPEATS, STEPS = 2, 4
#: Wide enough that a prefill is worth measuring, and quick to build.
SMALL_LLAMA = {
    "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4,
    "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}  # fmt: skip
SMALL_MOE = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 4096, "moe_intermediate_size": 768,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 64,
    "num_experts_per_tok": 4, "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS = ("experts_gate_up", "experts_down")


def gpu_count() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return len(listing.splitlines())


@pytest.fixture(scope="module")
def gpus() -> int:
    if not (count := gpu_count()):
        pytest.skip("no NVIDIA GPU")
    return count


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small-llama.json"
    path.write_text(json.dumps(SMALL_LLAMA))
    return path


def captured(directory: Path, *arguments: str | Path) -> dict[str, Any]:
    """Capture, analyze, compare with `nsys stats`, and return the analysis; each has to succeed."""
    done = llmperf("capture", "--no-analyze", "-o", "run", *arguments, cwd=directory)
    assert done.code == 0, done.stderr
    found = llmperf("analyze", "run", "--format", "json", "--verify", cwd=directory)
    assert found.code == 0, found.stderr
    report: dict[str, Any] = json.loads(found.stdout)
    assert all(check["passed"] for check in report["checks"]), report["checks"]
    return report


def phases(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    by_name = {phase["name"]: phase for phase in report["phases"]}
    for name in ("prefill", "decode"):
        phase = by_name[name]
        assert 0 < phase["mfu_busy"] <= 1, name
        assert 0 < phase["mbu_busy"] <= 1, name
        assert phase["gpu_busy_ns"] <= phase["kernel_time_ns"] + phase["memop_time_ns"] + phase["graph_time_ns"]
    return by_name


def measured(phase: dict[str, Any]) -> int:
    return int(phase["occurrences"] - phase["warmup_occurrences"])


def kernels(phase: dict[str, Any]) -> int:
    return int(phase["kernel_count"] - phase["warmup_kernel_count"])


def builtin(model: Path, shape: str = "2x256") -> tuple[str | Path, ...]:
    return ("--model", model, "--shape", f"{shape}+{STEPS}", "--repeats", str(REPEATS), "--warmup", "1")


def test_eager(gpus: int, model: Path, tmp_path: Path) -> None:
    found = phases(captured(tmp_path, *builtin(model), "--layers"))
    assert measured(found["prefill"]) == REPEATS
    assert measured(found["decode"]) == REPEATS * STEPS
    assert (found["prefill"]["tokens"], found["decode"]["tokens"]) == (REPEATS * 512, REPEATS * STEPS * 2)
    assert found["decode"]["flops"] == decode_flops()
    # every step of a phase runs the same kernels
    assert kernels(found["decode"]) % (REPEATS * STEPS) == 0
    assert kernels(found["prefill"]) % REPEATS == 0


@pytest.mark.parametrize("extra", [("--layers",), ("--cuda-graphs",)])
def test_experts(gpus: int, tmp_path: Path, extra: tuple[str, ...]) -> None:
    # given 64 experts with 9.4 MB of weights each, of which random routers choose a few more often than others
    path = tmp_path / "small-moe.json"
    path.write_text(json.dumps(SMALL_MOE))
    report = captured(tmp_path, *builtin(path), *extra)
    phases(report)
    assert report["model"]["routing"] == "counted"
    # then nothing is faster than the hardware, and the experts are told from the router
    names = {row["operator"] for row in report["operators"]}
    assert names == ({"qkv", "attention", "o", "router", *EXPERTS, "lm_head"} if extra == ("--layers",) else set())
    for row in report["operators"]:
        assert 0 < row["roofline_ratio"] <= 1, row


@pytest.mark.parametrize("mode", ["node", "whole"])
def test_cuda_graphs(gpus: int, model: Path, tmp_path: Path, mode: str) -> None:
    decode = phases(captured(tmp_path, *builtin(model), "--cuda-graphs", "--cuda-graph", mode))["decode"]
    graphs = REPEATS * STEPS if mode == "whole" else 0
    assert decode["graph_launch_count"] - decode["warmup_graph_count"] == graphs
    assert (kernels(decode) > 0) == (mode == "node")
    assert decode["launch_call_count"] >= REPEATS * STEPS


def test_hardware_metrics(gpus: int, model: Path, tmp_path: Path) -> None:
    phases(captured(tmp_path, *builtin(model), "--gpu-metrics"))
    count = llmperf("sql", "run", "SELECT count(*) AS n FROM gpu_metrics", "--format", "json", cwd=tmp_path)
    assert json.loads(count.stdout)["n"] > 0, count.stderr


def test_an_unmodified_script(gpus: int, tmp_path: Path) -> None:
    found = phases(captured(tmp_path, "--auto", "--", sys.executable, PROGRAMS / "plain_generate.py"))
    assert (found["prefill"]["occurrences"], found["decode"]["occurrences"]) == (1, 3)


@pytest.mark.parametrize("parallel", ["tensor", "data"])
def test_two_gpus(gpus: int, model: Path, tmp_path: Path, parallel: str) -> None:
    if gpus < 2:
        pytest.skip("one GPU")
    one = decode_flops()
    found = phases(captured(tmp_path, *builtin(model), "--nproc", "2", "--parallel", parallel))
    for name in ("prefill", "decode"):
        assert {device["device_id"] for device in found[name]["devices"]} == {0, 1}
    # Two ranks share each pass, or each makes its own.
    assert measured(found["decode"]) == 2 * REPEATS * STEPS
    assert found["decode"]["flops"] == one * (1 if parallel == "tensor" else 2)


def decode_flops() -> int:
    """FLOPs of all decode steps of one GPU's requests, by hand: 2 sequences, 256 prompt tokens."""
    hidden, mlp, layers, heads, kv_heads = 1024, 4096, 4, 16, 4
    head_dim = hidden // heads
    weights = layers * (hidden * (heads + 2 * kv_heads) * head_dim + heads * head_dim * hidden + 3 * hidden * mlp)
    total = 0
    for step in range(STEPS):
        context = 256 + step + 1
        total += 2 * 2 * (weights + hidden * 32000) + 2 * layers * 4 * heads * head_dim * context
    return REPEATS * total


def test_measured_ceilings_are_near_the_datasheet(gpus: int, tmp_path: Path) -> None:
    done = llmperf("gpus", "--measure", "--format", "json", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path))
    assert done.code == 0, done.stderr
    answer = json.loads(done.stdout)
    sheet, measured = answer["gpus"][0], answer["measured"][0]
    assert {"bf16", "fp16", "tf32"} <= set(measured["flops_per_s"])
    for dtype, rate in measured["flops_per_s"].items():
        assert 0.4 < rate / sheet["peaks_flops_per_s"][dtype] <= 1, dtype
    assert 0.6 < measured["bandwidth_bytes_per_s"] / sheet["bandwidth_bytes_per_s"] <= 1
